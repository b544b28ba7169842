// Runs that share a value, as one line: the mean at each place of the axis, with a band around it.
import { positions, firstTime, upper } from "../../charts/data.js";
import { textOf } from "./axes.js";

const MOST_PLACES = 300;

/**
 * @param {{id: string}[]} runs @param {string} by "" (none), "seeds", or a recipe key
 * @param {{differs: {key: string, values: Record<string, any>}[], groups: {name: string, runs: string[]}[]}} found
 * @returns {{name: string, ids: string[]}[]}
 */
export function grouped(runs, by, { differs, groups }) {
  const there = new Set(runs.map(({ id }) => id));
  if (by === "seeds") return groups.map(({ name, runs: ids }) => ({ name, ids: ids.filter((id) => there.has(id)) })).filter(({ ids }) => ids.length);
  const values = differs.find(({ key }) => key === by)?.values ?? {};
  const found = new Map();
  for (const { id } of runs) {
    const value = values[id] ?? null;
    const name = value === null ? "–" : textOf(value);
    found.set(name, { name: `${by.split(".").at(-1)} ${name}`, value, ids: [...(found.get(name)?.ids ?? []), id] });
  }
  const order = (a, b) => (typeof a.value === "number" && typeof b.value === "number" ? a.value - b.value : a.name.localeCompare(b.name, undefined, { numeric: true }));
  return [...found.values()].sort(order);
}

/**
 * The mean of one series over runs, as a table on the axis asked for (its places stand under `step`).
 * A run counts where it has been: before its first and after its last value it is left out.
 * @param {import("../../charts/data.js").Table[]} tables of the runs @param {string} name of the series
 * @param {"step"|"epoch"|"time"} axis @param {"range"|"error"} band least to greatest, or one standard error to each side
 * @returns {import("../../charts/data.js").Table}
 */
export function meanTable(tables, name, axis, band) {
  const curves = tables.map((table) => curveOf(table, name, axis)).filter(({ x }) => x.length);
  const x = places(curves);
  const series = { mean: [], low: [], high: [] };
  for (const at of x) {
    const values = curves.map((curve) => valueAt(curve, at)).filter(Number.isFinite);
    const { mean, low, high } = summary(values, band);
    series.mean.push(mean);
    series.low.push(low);
    series.high.push(high);
  }
  return { step: x, epoch: x, time: x, origin: 0, series };
}

/** @param {number[]} values @param {"range"|"error"} band @returns {{mean: number|null, low: number|null, high: number|null, deviation: number|null}} */
export function summary(values, band = "range") {
  const n = values.length;
  if (!n) return { mean: null, low: null, high: null, deviation: null };
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const deviation = n > 1 ? Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1)) : null;
  if (band === "range") return { mean, low: Math.min(...values), high: Math.max(...values), deviation };
  const half = deviation === null ? 0 : deviation / Math.sqrt(n);
  return { mean, low: mean - half, high: mean + half, deviation };
}

/** Places and values of a series where it has any. */
function curveOf(table, name, axis) {
  const values = table?.series?.[name];
  if (!values) return { x: [], y: [] };
  const along = positions(table, axis, table.origin ?? firstTime([table]));
  const kept = along.map((at, i) => i).filter((i) => Number.isFinite(values[i]) && (i === 0 || along[i] > along[i - 1] || !Number.isFinite(values[i - 1])));
  return { x: kept.map((i) => along[i]), y: kept.map((i) => values[i]) };
}

/** The places that the runs have, or as many evenly spread where they are too many. */
function places(curves) {
  const all = [...new Set(curves.flatMap(({ x }) => x))].sort((a, b) => a - b);
  if (all.length <= MOST_PLACES) return all;
  const [first, last] = [all[0], all.at(-1)];
  return Array.from({ length: MOST_PLACES }, (_, i) => first + ((last - first) * i) / (MOST_PLACES - 1));
}

function valueAt({ x, y }, at) {
  if (at < x[0] || at > x.at(-1)) return null;
  const i = upper(x, at);
  if (x[i - 1] === at || i === x.length) return y[i - 1];
  return y[i - 1] + ((y[i] - y[i - 1]) * (at - x[i - 1])) / (x[i] - x[i - 1]);
}
