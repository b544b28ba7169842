// Two tables: the recipe keys that differ, and the figures of the runs with their intervals.
import { html, useMemo, useState } from "../../lib/ui.js";
import { t } from "../../lib/i18n.js";
import { duration, interval, measure, plain } from "../../lib/format.js";
import { runHash } from "../../lib/router.js";
import { Button } from "../../components/Button.js";
import { Swatch } from "./Swatch.js";
import { summary } from "./groups.js";

const FOLD = 28;
const ROWS = 12;
const MOST_COLUMNS = 6;

/** @param {{runs: any[], found: any, looks: Record<string, any>}} props */
export function Differences({ runs, found, looks }) {
  const [all, setAll] = useState(false);
  const rows = useMemo(() => found.differs.filter(({ values }) => new Set(runs.map(({ id }) => JSON.stringify(values[id] ?? null))).size > 1), [found, runs]);
  const shown = all ? rows : rows.slice(0, ROWS);
  return html`<section class="card" aria-label=${t("compare.differs")}><h2>${t("compare.differs")}</h2>
    ${!rows.length ? html`<p class="muted">${t(runs.length > 1 ? "compare.differs.none" : "compare.two")}</p>` : html`
    <${Matrix} label=${t("compare.differs")} corner=${t("compare.key")} runs=${runs} looks=${looks}
      lines=${shown.map(({ key, values }) => ({ key, head: html`<code>${key}</code>`, cell: (run) => html`<${Folded} value=${values[run.id]} />` }))} />
    ${rows.length > ROWS && html`<${Button} kind="quiet" onClick=${() => setAll(!all)}>${t(all ? "compare.fewer" : "compare.more", { n: rows.length })}<//>`}`}
  </section>`;
}

/**
 * A table of runs and lines: a column a run while they are few, else a row a run.
 * @param {{label: string, corner: string, runs: any[], looks: Record<string, any>,
 *   lines: {key: string, head: any, cell: (run: any, i: number) => any, isBest?: (i: number) => boolean, main?: boolean}[]}} props
 */
function Matrix({ label, corner, runs, looks, lines }) {
  const cell = (line, run, i) => html`<td key=${`${line.key} ${run.id}`} class=${line.isBest?.(i) ? "is-best" : ""}>${line.cell(run, i)}</td>`;
  const table = runs.length <= MOST_COLUMNS
    ? html`<thead><tr><th scope="col">${corner}</th>${runs.map((run) => html`<th scope="col" key=${run.id} class="compare-run-head"><${RunName} run=${run} look=${looks[run.id]} /></th>`)}</tr></thead>
      <tbody>${lines.map((line) => html`<tr key=${line.key} class=${line.main ? "is-main" : ""}><th scope="row">${line.head}</th>${runs.map((run, i) => cell(line, run, i))}</tr>`)}</tbody>`
    : html`<thead><tr><th scope="col">${t("compare.run")}</th>${lines.map((line) => html`<th scope="col" key=${line.key}>${line.head}</th>`)}</tr></thead>
      <tbody>${runs.map((run, i) => html`<tr key=${run.id}><th scope="row" class="compare-run-head"><${RunName} run=${run} look=${looks[run.id]} /></th>${lines.map((line) => cell(line, run, i))}</tr>`)}</tbody>`;
  return html`<div class="table-scroll compare-matrix" tabindex="0" role="region" aria-label=${label}><table class="table compare-table">${table}</table></div>`;
}

function RunName({ run, look }) {
  return html`<${Swatch} look=${look} /> <a href=${runHash(run.id)} title=${run.label}>${run.label}</a>`;
}

/** A long value in one line, whole at a click. */
function Folded({ value }) {
  const text = plain(value);
  if (text.length <= FOLD) return html`<span>${text}</span>`;
  return html`<details class="compare-value"><summary>${`${text.slice(0, FOLD - 1)}…`}</summary><pre>${typeof value === "object" ? JSON.stringify(value, null, 1) : text}</pre></details>`;
}

/** @param {{runs: any[], found: any, evaluations: Record<string, any>, looks: Record<string, any>}} props */
export function Figures({ runs, found, evaluations, looks }) {
  const figures = useMemo(() => figuresOf(runs, evaluations), [runs, evaluations]);
  const seeds = found.groups.filter(({ runs: ids }) => ids.length > 1);
  return html`<section class="card" aria-label=${t("compare.metrics")}><h2>${t("compare.metrics")}</h2>
    <${Matrix} label=${t("compare.metrics")} corner=${t("compare.metric")} runs=${runs} looks=${looks} lines=${[
      ...figures.map(({ name, cells, best, main }) => ({ key: name, head: name, main, isBest: (i) => i === best, cell: (_, i) => html`<${Figure} cell=${cells[i]} best=${i === best} />` })),
      { key: "", head: t("compare.time"), cell: (run) => duration(run.seconds) },
    ]} />
    <p class="muted small">${t("compare.intervals")}</p>
    ${seeds.length > 0 && html`<${Seeds} groups=${seeds} runs=${runs} />`}
  </section>`;
}

function Figure({ cell, best }) {
  if (!cell) return "–";
  const star = html` <span class="compare-best" title=${t("compare.best")}>★<span class="visually-hidden"> ${t("compare.best")}</span></span>`;
  return html`${interval(cell.value, cell.low, cell.high)}${best ? star : ""}`;
}

const LOWER = /loss|ece|error|perplexity/i;

/** A row a metric: the one of the verdict first. Where the evaluation is not there yet, the summary tells the main one. */
function figuresOf(runs, evaluations) {
  const main = runs.find((run) => run.metric)?.metric;
  const names = new Set(main ? [main] : []);
  runs.forEach(({ id }) => Object.keys(evaluations[id]?.metrics ?? {}).forEach((name) => names.add(name)));
  return [...names].map((name) => {
    const cells = runs.map((run) => evaluations[run.id]?.metrics?.[name] ?? (run.metric === name && Number.isFinite(run.value) ? run : null));
    const lower = name === main ? runs.find((run) => run.metric === main)?.higher_is_better === false : LOWER.test(name);
    const values = cells.map((cell) => (Number.isFinite(cell?.value) ? cell.value : null));
    const known = values.filter((value) => value !== null);
    const top = known.length > 1 && new Set(known).size > 1 ? (lower ? Math.min(...known) : Math.max(...known)) : null;
    return { name, cells, main: name === main, best: top === null ? -1 : values.indexOf(top) };
  });
}

/** Seeds of one recipe: the mean of the metric and how far the seeds lie apart. */
function Seeds({ groups, runs }) {
  const metric = runs.find((run) => run.metric)?.metric;
  return html`<h3>${t("compare.seeds")}</h3>
    <div class="table-scroll" tabindex="0" role="region" aria-label=${t("compare.seeds")}><table class="table compare-table">
    <thead><tr><th scope="col">${t("compare.recipe")}</th><th scope="col">${t("compare.count")}</th><th scope="col">${t("compare.mean", { metric })}</th><th scope="col">${t("compare.deviation")}</th><th scope="col">${t("compare.range")}</th></tr></thead>
    <tbody>${groups.map(({ name, runs: ids }) => {
      const values = runs.filter(({ id, metric: own }) => ids.includes(id) && own === metric).map(({ value }) => value).filter(Number.isFinite);
      const { mean, deviation, low, high } = summary(values);
      return html`<tr key=${name}><th scope="row">${name}</th><td>${values.length}</td><td>${measure(mean)}</td><td>${measure(deviation)}</td><td>${measure(low)} … ${measure(high)}</td></tr>`;
    })}</tbody></table></div>`;
}
