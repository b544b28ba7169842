// From the tables of a run to the columns of a chart: one ascending x for lines of several tables.

/**
 * @typedef {{step: number[], epoch?: (number|null)[], time?: (number|null)[], origin?: number, sampled?: boolean,
 *   series: Record<string, (number | null)[]>}} Table all lists of one length; `origin`: epoch seconds of the run's start
 * @typedef {"step" | "epoch" | "time"} Axis
 * @typedef {{table: string, name: string, label: string, color?: string, dash?: number[], side?: "left" | "right",
 *   width?: number, alpha?: number, smooth?: boolean, points?: boolean, low?: string, high?: string}} Line
 *   low, high: names of two series of the same table, the edges of a band around the line
 */

/**
 * Where the rows of a table stand along the axis: steps, epochs, or seconds since `origin`. A clock that was set back, or
 * an epoch that is missing, never makes the axis run backwards: the value before holds.
 * @param {Table} table @param {Axis} axis @param {number} [origin] epoch seconds @returns {number[]}
 */
export function positions(table, axis, origin = table.origin ?? firstTime([table])) {
  if (axis === "step") return table.step;
  const raw = axis === "epoch" ? table.epoch : table.time;
  if (!raw?.some(Number.isFinite)) return table.step;
  let held = axis === "epoch" ? 0 : -Infinity;
  const start = axis === "epoch" ? 0 : origin;
  return raw.map((value) => {
    if (Number.isFinite(value)) held = Math.max(held, value - start);
    return Number.isFinite(held) ? held : 0;
  });
}

/** The earliest time in tables of one run, in epoch seconds. @param {Table[]} tables @returns {number} 0 if none is known */
export function firstTime(tables) {
  const times = tables.map((table) => table?.time?.find(Number.isFinite)).filter(Number.isFinite);
  return times.length ? Math.min(...times) : 0;
}

/**
 * Lines of several tables over one x. A row that a line's table does not have is undefined (the line goes on through it);
 * a value that is missing in its own table is null (a gap).
 * @param {Record<string, Table>} tables @param {Line[]} lines @param {Axis} axis
 * @returns {{x: number[], columns: (number | null | undefined)[][]}}
 */
export function align(tables, lines, axis) {
  const used = [...new Set(lines.map((line) => line.table))].filter((name) => tables[name]?.step?.length);
  const origin = firstTime(used.map((name) => tables[name]));
  const along = new Map(used.map((name) => [name, positions(tables[name], axis, tables[name].origin ?? origin)]));
  const x = [...new Set(used.flatMap((name) => along.get(name)))].sort((a, b) => a - b);
  const place = new Map(x.map((value, i) => [value, i]));
  const columns = lines.map((line) => {
    const column = new Array(x.length).fill(undefined);
    const values = tables[line.table]?.series?.[line.name];
    if (values) along.get(line.table)?.forEach((at, i) => { column[place.get(at)] = values[i] ?? null; });
    return column;
  });
  return { x, columns };
}

/** Least and greatest position over tables, for one range shared by charts. @returns {[number, number] | null} */
export function domainOf(tables, axis) {
  const all = Object.values(tables).filter((table) => table?.step?.length);
  if (!all.length) return null;
  const origin = firstTime(all);
  const ends = all.map((table) => positions(table, axis, table.origin ?? origin)).flatMap((at) => [at[0], at.at(-1)]);
  return [Math.min(...ends), Math.max(...ends)];
}

/**
 * From a step to its place on the axis, by the table with the most rows; between rows in proportion.
 * @param {Record<string, Table>} tables @param {Axis} axis @returns {(step: number) => number}
 */
export function placer(tables, axis) {
  if (axis === "step") return (step) => step;
  const all = Object.values(tables).filter((table) => table?.step?.length);
  const longest = all.reduce((best, table) => (table.step.length > (best?.step.length ?? 0) ? table : best), null);
  if (!longest) return (step) => step;
  const along = positions(longest, axis, longest.origin ?? firstTime(all));
  return (step) => between(longest.step, along, step);
}

/** The inverse of `placer`: from a place on the axis to a step. @returns {(place: number) => number} */
export function stepper(tables, axis) {
  if (axis === "step") return (place) => place;
  const all = Object.values(tables).filter((table) => table?.step?.length);
  const longest = all.reduce((best, table) => (table.step.length > (best?.step.length ?? 0) ? table : best), null);
  if (!longest) return (place) => place;
  const along = positions(longest, axis, longest.origin ?? firstTime(all));
  return (place) => between(along, longest.step, place);
}

function between(from, to, value) {
  const i = upper(from, value);
  if (i === 0) return to[0];
  if (i === from.length) return to[from.length - 1];
  const share = from[i] > from[i - 1] ? (value - from[i - 1]) / (from[i] - from[i - 1]) : 0;
  return to[i - 1] + share * (to[i] - to[i - 1]);
}

/** The first index whose value is above `value` in an ascending list. @returns {number} the length if none is */
export function upper(list, value) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The index of the value nearest to x[i] in a column with holes. @returns {number | null} */
export function nearest(x, column, i) {
  let [left, right] = [i, i + 1];
  while (left >= 0 && !Number.isFinite(column[left])) left -= 1;
  while (right < column.length && !Number.isFinite(column[right])) right += 1;
  if (left < 0) return right < column.length ? right : null;
  if (right >= column.length) return left;
  return x[i] - x[left] <= x[right] - x[i] ? left : right;
}
