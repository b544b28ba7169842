// The tables of a run in the page: live rows are put in, and what a resume made void is taken out.

/** @typedef {import("../../charts/data.js").Table} Table */

const COLUMNS = ["step", "epoch", "time"];

/**
 * Tables with new rows. A row whose step is there already replaces it (the later line of a step holds), so that rows
 * sent twice after a lost connection do no harm. A new series is null in the rows before it.
 * @param {Record<string, Table>} tables @param {Record<string, Table>} update @param {number | null} [cut] rows above
 *   this step are void @returns {Record<string, Table>} new objects where something changed, the same ones elsewhere
 */
export function merge(tables, update, cut = null) {
  const out = { ...tables };
  if (cut !== null && cut !== undefined) for (const name of Object.keys(out)) out[name] = trimmed(out[name], cut);
  for (const [name, rows] of Object.entries(update ?? {})) if (rows?.step?.length) out[name] = joined(out[name], rows);
  return out;
}

function trimmed(table, cut) {
  const keep = table.step.findIndex((step) => step > cut);
  return keep < 0 ? table : picked(table, Array.from({ length: keep }, (_, i) => i));
}

function picked(table, rows) {
  const series = Object.fromEntries(Object.entries(table.series).map(([name, values]) => [name, rows.map((i) => values[i])]));
  const columns = Object.fromEntries(COLUMNS.filter((name) => table[name]).map((name) => [name, rows.map((i) => table[name][i])]));
  return { ...table, ...columns, series };
}

function joined(old, rows) {
  if (!old?.step.length) return rows;
  const fresh = new Set(rows.step);
  const kept = old.step.some((step) => fresh.has(step)) ? picked(old, [...old.step.keys()].filter((i) => !fresh.has(old.step[i]))) : old;
  const [before, after] = [kept.step.length, rows.step.length];
  const list = (values, n) => values ?? new Array(n).fill(null);
  const names = [...new Set([...Object.keys(kept.series), ...Object.keys(rows.series)])];
  const all = {
    ...kept,
    ...Object.fromEntries(COLUMNS.map((name) => [name, [...list(kept[name], before), ...list(rows[name], after)]])),
    series: Object.fromEntries(names.map((name) => [name, [...list(kept.series[name], before), ...list(rows.series[name], after)]])),
  };
  if (!before || rows.step[0] > kept.step[before - 1]) return all;
  return picked(all, [...all.step.keys()].sort((a, b) => all.step[a] - all.step[b]));
}

/**
 * A table whose rows from `from` to `to` are those of a finer one: what a zoom asked for.
 * @param {Table} table @param {Table} detail @param {number} from @param {number} to steps @returns {Table}
 */
export function spliced(table, detail, from, to) {
  if (!detail?.step?.length) return table;
  const inside = picked(detail, [...detail.step.keys()].filter((i) => detail.step[i] >= from && detail.step[i] <= to));
  return joined(table, inside);
}

/** The last value of a series that is there. @param {Table | undefined} table @param {string} name @returns {number | null} */
export function lastValue(table, name) {
  return table?.series?.[name]?.findLast((value) => Number.isFinite(value)) ?? null;
}

/** Whether a series has any value. @param {Record<string, Table>} tables @param {string} table @param {string} name */
export function has(tables, table, name) {
  return Boolean(tables[table]?.series?.[name]?.some((value) => Number.isFinite(value)));
}

/** Names of the series of a table that begin so and have values. @returns {string[]} */
export function named(tables, table, prefix) {
  return Object.keys(tables[table]?.series ?? {}).filter((name) => name.startsWith(prefix) && has(tables, table, name));
}
