// Which runs are shown, in which order, in which groups. Pure functions; the query itself lives in the address.

import { sorted } from "../../components/Table.js";
import { joinIds, splitIds, withQuery } from "../../lib/router.js";

/** What one can filter by, and how a run answers (a list: any of them counts). */
export const FACETS = {
  state: (run) => [stateGroup(run.state)],
  model: (run) => [run.model ?? ""],
  data: (run) => [run.data ?? ""],
  strategy: (run) => [run.strategy ?? ""],
  tag: (run) => (run.tags?.length ? run.tags : [""]),
  severity: (run) => [worstSeverity(run)],
};

const LIVE = new Set(["preparing", "running", "evaluating", "finishing"]);
const SEVERITIES = ["act", "warning", "info"];

/** Whether the run's process is at work. @param {object} run */
export function isLive(run) {
  return LIVE.has(run.state);
}

/** The states that belong together for a filter. @param {string} state */
export function stateGroup(state) {
  return LIVE.has(state) ? "running" : state;
}

/** The worst severity of its findings, "none" without any. @param {object} run */
export function worstSeverity(run) {
  return SEVERITIES.find((severity) => run.findings?.[severity] > 0) ?? "none";
}

/**
 * @typedef {{text: string, facets: Record<string, string[]>, group: string, sort: {by: string, down: boolean},
 *   archived: boolean}} Query
 */

/** @param {Record<string, string>} query of the route @returns {Query} */
export function readQuery(query) {
  const sort = query.sort || "-started";
  return {
    text: query.q ?? "",
    facets: Object.fromEntries(Object.keys(FACETS).map((name) => [name, splitValues(query[name])])),
    group: query.group ?? "",
    sort: { by: sort.replace(/^-/, ""), down: sort.startsWith("-") },
    archived: query.archived === "1",
  };
}

/** The address of a query; what is as it comes is left out. @param {Query} query @returns {string} */
export function queryHash(query) {
  const sort = `${query.sort.down ? "-" : ""}${query.sort.by}`;
  const facets = Object.fromEntries(Object.entries(query.facets).map(([name, values]) => [name, joinValues(values)]));
  return withQuery("#/", { q: query.text, ...facets, group: query.group, sort: sort === "-started" ? "" : sort, archived: query.archived ? 1 : "" });
}

const EMPTY = "\u2205"; // stands for "has none" in the address, where an empty word would vanish

function splitValues(text) {
  return splitIds(text).map((value) => (value === EMPTY ? "" : value));
}

function joinValues(values) {
  return joinIds(values.map((value) => (value === "" ? EMPTY : value)));
}

const texts = new WeakMap();

/**
 * What the search looks through, in lower case; made once for each version of a summary. A recipe key is in every run,
 * so `words` has the texts among the recipe's values alone, and `pairs` has "key=value" for a search with "=".
 */
function searched(run) {
  let found = texts.get(run);
  if (!found) {
    const values = Object.entries(run.values ?? {});
    const parts = [run.id, run.name, run.state, run.model, run.data, run.task, run.strategy, run.metric, run.note, ...(run.tags ?? []),
      run.worst?.name, run.worst?.message, run.error?.message, run.foreign, ...values.map(([, value]) => value)];
    const pairs = values.map(([key, value]) => `${key}=${typeof value === "object" ? JSON.stringify(value) : value}\n`);
    found = { words: parts.filter((part) => typeof part === "string").join("\n").toLowerCase(), pairs: pairs.join("").toLowerCase() };
    texts.set(run, found);
  }
  return found;
}

/** Whether a run has every word of the search and, for each facet asked for, one of its values. */
export function matches(run, query, without = null) {
  if (!query.archived && run.archived) return false;
  for (const [name, values] of Object.entries(query.facets)) {
    if (name !== without && values.length && !FACETS[name](run).some((value) => values.includes(value))) return false;
  }
  const words = query.text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = searched(run);
  return words.every((word) => found.words.includes(word) || (word.includes("=") && found.pairs.includes(`${word}\n`)));
}

/**
 * The values of a facet with how many runs each would show, given the rest of the query; chosen ones are always there.
 * @returns {{value: string, count: number}[]} most frequent first
 */
export function facetValues(runs, query, name) {
  const counts = new Map(query.facets[name].map((value) => [value, 0]));
  for (const run of runs) {
    if (!matches(run, query, name)) continue;
    for (const value of FACETS[name](run)) counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  return [...counts].map(([value, count]) => ({ value, count })).sort((a, b) => b.count - a.count || a.value.localeCompare(b.value));
}

/** How many filters are set, the search not counted. @param {Query} query */
export function filterCount(query) {
  return Object.values(query.facets).filter((values) => values.length).length;
}

// ---- groups ----

const PLAIN = { state: (run) => run.state, model: (run) => run.model, data: (run) => run.data, task: (run) => run.task, strategy: (run) => run.strategy };

/** What a run is grouped by: a field, or a recipe value ("key:<dotted key>"). */
export function groupValue(run, group) {
  if (group.startsWith("key:")) return run.values?.[group.slice(4)];
  return PLAIN[group]?.(run);
}

export const GROUPS = Object.keys(PLAIN);

/**
 * The recipe keys of the runs, those that differ first.
 * @returns {{differ: string[], same: string[]}} each in alphabetical order
 */
export function recipeKeys(runs) {
  const seen = new Map();
  for (const run of runs) {
    for (const [key, value] of Object.entries(run.values ?? {})) {
      const text = JSON.stringify(value);
      const old = seen.get(key);
      if (!old) seen.set(key, { text, count: 1, differs: false });
      else {
        old.count += 1;
        old.differs ||= old.text !== text;
      }
    }
  }
  const keys = [...seen.keys()].sort();
  const differs = (key) => seen.get(key).differs || seen.get(key).count < runs.length;
  return { differ: keys.filter(differs), same: keys.filter((key) => !differs(key)) };
}

/**
 * Sorted runs in groups. Groups stand in the order of their value; where the runs are sorted by the metric, in the
 * order of their mean. Those without one stand at the end.
 * @param {object[]} runs @param {string} group of the query @param {{by: string, down: boolean}} sort
 * @returns {{key: string, value: any, runs: object[], metric: string | null, mean: number | null, spread: number | null,
 *   counted: number}[]} mean and spread (standard deviation, n-1) of the metric, where all of the group share one
 */
export function grouped(runs, group, sort = { by: "", down: false }) {
  const found = new Map();
  for (const run of runs) {
    const value = groupValue(run, group);
    const key = JSON.stringify(value ?? null);
    if (!found.has(key)) found.set(key, { key, value: value ?? null, runs: [] });
    found.get(key).runs.push(run);
  }
  const groups = [...found.values()].map((entry) => ({ ...entry, ...statistics(entry.runs) }));
  if (sort.by === "value") return sorted(groups, { id: "mean" }, sort.down);
  return sorted(groups, { id: "value", value: ({ value }) => (typeof value === "object" && value !== null ? JSON.stringify(value) : value) });
}

function statistics(runs) {
  const valued = runs.filter((run) => Number.isFinite(run.value));
  const names = new Set(valued.map((run) => run.metric));
  if (names.size !== 1) return { metric: null, mean: null, spread: null, counted: valued.length };
  const mean = valued.reduce((sum, run) => sum + run.value, 0) / valued.length;
  const squares = valued.reduce((sum, run) => sum + (run.value - mean) ** 2, 0);
  const spread = valued.length > 1 ? Math.sqrt(squares / (valued.length - 1)) : null;
  return { metric: valued[0].metric, mean, spread, counted: valued.length };
}
