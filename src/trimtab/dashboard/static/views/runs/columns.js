// The columns of the list: what each shows, and what it is sorted by.
import { html } from "../../lib/ui.js";
import { plain, when } from "../../lib/format.js";
import { t } from "../../lib/i18n.js";
import { StateBadge } from "../../components/Badge.js";
import { Spark } from "../../components/Spark.js";
import { Findings, Metric, Moment, ShortPath, Time } from "./cells.js";

/**
 * @typedef {{id: string, label: string, width: number, numeric?: boolean, value: (run: object) => any,
 *   cell: (run: object, context: {scales: object}) => any, down?: boolean}} Column
 * width in px; down: the first click sorts greatest first
 */

const STATES = ["running", "evaluating", "finishing", "preparing", "paused", "failed", "crashed", "stopped", "finished", "foreign"];
const weight = (run) => 1e6 * (run.findings?.act ?? 0) + 1e3 * (run.findings?.warning ?? 0) + (run.findings?.info ?? 0);

/** In the order in which they stand. `fit` is how early a column leaves a page that is too narrow (last to first). */
const BUILT_IN = [
  { id: "state", width: 108, fit: 1, value: (run) => STATES.indexOf(run.state), cell: (run) => html`<${StateBadge} state=${run.state} />` },
  { id: "value", width: 172, fit: 2, down: true, value: (run) => run.value, cell: (run, { scales }) => html`<${Metric} run=${run} scale=${scales[run.metric]} />` },
  { id: "curve", width: 112, fit: 5, value: (run) => run.curve?.points?.at(-1)?.[1], cell: (run) => html`<${Spark} points=${run.curve?.points} label=${run.curve?.name} />` },
  { id: "findings", width: 152, fit: 3, down: true, value: (run) => weight(run) || null, cell: (run) => html`<${Findings} run=${run} />` },
  { id: "time", width: 132, fit: 4, down: true, value: (run) => run.seconds, cell: (run) => html`<${Time} run=${run} />` },
  { id: "model", width: 132, fit: 6, value: (run) => run.model, cell: (run) => html`<${ShortPath} text=${run.model} />` },
  { id: "data", width: 120, fit: 8, value: (run) => run.data, cell: (run) => html`<${ShortPath} text=${run.data} />` },
  { id: "strategy", width: 96, fit: 7, value: (run) => run.strategy, cell: (run) => html`<span class="cut block">${run.strategy ?? "–"}</span>` },
  { id: "started", width: 120, fit: 9, down: true, value: (run) => run.started, cell: (run) => html`<${Moment} epoch=${run.started} text=${when(run.started)} />` },
  { id: "task", width: 140, value: (run) => run.task, cell: (run) => html`<span class="cut block" title=${run.task}>${run.task ?? "–"}</span>` },
  { id: "updated", width: 116, down: true, value: (run) => run.updated, cell: (run) => html`<${Moment} epoch=${run.updated} text=${when(run.updated)} />` },
  { id: "loss", width: 90, numeric: true, value: (run) => run.loss, cell: (run) => plain(run.loss) },
  { id: "epoch", width: 90, numeric: true, down: true, value: (run) => run.epoch, cell: (run) => (run.num_epochs ? `${plain(run.epoch)} / ${plain(run.num_epochs)}` : plain(run.epoch)) },
  { id: "step", width: 120, numeric: true, down: true, value: (run) => run.step, cell: (run) => (run.total_steps ? `${plain(run.step)} / ${plain(run.total_steps)}` : plain(run.step)) },
];

const NAME = { id: "name", width: 196, value: (run) => run.name };
const EDGE = 76; // px: the box to choose with, and the button to edit with
const SCROLLBAR = 12; // px

export const COLUMN_IDS = BUILT_IN.map(({ id }) => id);

/**
 * The columns to show: those that were chosen, else as many of the usual ones as the page has room for.
 * @param {string[] | null} chosen ids; "key:<dotted key>" for a recipe value @param {number} width of the list in px
 * @returns {Column[]}
 */
export function columnsFor(chosen, width) {
  if (chosen) {
    const keys = chosen.filter((id) => id.startsWith("key:")).map(recipeColumn);
    return [...BUILT_IN.filter(({ id }) => chosen.includes(id)).map(named), ...keys];
  }
  const usual = BUILT_IN.filter(({ fit }) => fit).sort((a, b) => a.fit - b.fit);
  let left = width - NAME.width - EDGE - SCROLLBAR;
  const kept = new Set();
  for (const column of usual) {
    if (left < column.width && kept.size >= 3) break;
    left -= column.width;
    kept.add(column.id);
  }
  return BUILT_IN.filter(({ id }) => kept.has(id)).map(named);
}

function named(column) {
  return { ...column, label: t(`runs.column.${column.id}`) };
}

function recipeColumn(id) {
  const key = id.slice(4);
  return {
    id, label: key, width: Math.min(220, Math.max(96, 7.2 * key.length + 34)), value: (run) => comparable(run.values?.[key]),
    cell: (run) => html`<span class="cut block" title=${plain(run.values?.[key])}>${plain(run.values?.[key])}</span>`,
  };
}

function comparable(value) {
  if (typeof value === "boolean") return Number(value);
  return typeof value === "object" && value !== null ? JSON.stringify(value) : value;
}

/** What a sort by this id goes by, shown or not. @param {string} id @returns {Column | undefined} */
export function sortColumn(id) {
  if (id === "name") return NAME;
  return id.startsWith("key:") ? recipeColumn(id) : BUILT_IN.find((column) => column.id === id);
}

/** @param {Column[]} columns @returns {number} px below which the table scrolls sideways */
export function leastWidth(columns) {
  return columns.reduce((sum, column) => sum + column.width, NAME.width + EDGE);
}
