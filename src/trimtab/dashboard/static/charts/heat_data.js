// Numbers behind a heat map: order of the blocks, range of the colours, one value a pixel. No drawing.
import { upper } from "./data.js";

const RANK = [[/embed/i, 0], [/head|classifier|pooler/i, 3], [/decoder/i, 2]];
const NATURAL = new Intl.Collator("en", { numeric: true });

/** Blocks from the foot of the model to its head, whatever order they came in. @param {string[]} names */
export function byDepth(names) {
  const rank = (name) => RANK.find(([pattern]) => pattern.test(name))?.[1] ?? 1;
  return [...names].sort((a, b) => rank(a) - rank(b) || NATURAL.compare(a, b));
}

/** Names of the blocks that a table has values of. @param {object | undefined} table @param {string} kind "update_ratio" */
export function blocksOf(table, kind) {
  const series = Object.entries(table?.series ?? {}).filter(([name, values]) => name.startsWith(`${kind}/`) && values.some(Number.isFinite));
  return byDepth(series.map(([name]) => name.slice(kind.length + 1)));
}

/**
 * The table without the rows that have no value of a kind: other signals are measured more often.
 * @param {object | undefined} table @param {string} kind
 */
export function rowsOf(table, kind) {
  const columns = Object.entries(table?.series ?? {}).filter(([name]) => name.startsWith(`${kind}/`));
  const kept = (table?.step ?? []).map((_, i) => columns.some(([, values]) => Number.isFinite(values[i])));
  if (kept.every(Boolean)) return table;
  const thin = (values) => values?.filter((_, i) => kept[i]);
  return { ...table, step: thin(table.step), epoch: thin(table.epoch), time: thin(table.time), series: Object.fromEntries(columns.map(([name, values]) => [name, thin(values)])) };
}

/**
 * The range of a logarithmic scale: the least and greatest value above 0, without the outermost hundredth on either
 * side, so that one wild step does not make the rest one colour.
 * @param {(number | null)[][]} rows @returns {[number, number] | null} null if nothing is above 0
 */
export function colorRange(rows) {
  const values = rows.flat().filter((value) => value > 0).sort((a, b) => a - b);
  if (!values.length) return null;
  const at = (share) => values[Math.min(Math.floor(share * values.length), values.length - 1)];
  const [low, high] = values.length > 200 ? [at(0.01), at(0.99)] : [values[0], values.at(-1)];
  return low < high ? [low, high] : [low / 2, low * 2];
}

/** Where a value stands on the scale, from 0 to 1. @param {number} value @param {[number, number]} range */
export function shareOf(value, [low, high]) {
  return (Math.log(Math.max(value, low)) - Math.log(low)) / (Math.log(high) - Math.log(low));
}

/**
 * One value a pixel: the greatest of the rows that fall into it, so that a short rise is seen; between rows, the nearer.
 * Before the first and after the last row there is nothing.
 * @param {number[]} along places of the rows, ascending @param {(number|null)[]} values
 * @param {number} from @param {number} to the part in view @param {number} pixels
 * @returns {(number | null)[]}
 */
export function perPixel(along, values, from, to, pixels) {
  const out = new Array(pixels).fill(null);
  if (!along.length || !(to > from)) return out;
  const step = (to - from) / pixels;
  const slack = along.length > 1 ? (along.at(-1) - along[0]) / (along.length - 1) / 2 : (to - from) / 50;
  for (let pixel = 0; pixel < pixels; pixel += 1) {
    const [low, high] = [from + pixel * step, from + (pixel + 1) * step];
    const isLast = pixel === pixels - 1; // a row on the border counts to the right of it
    let [first, end] = [upper(along, low - 1e-9 * step), upper(along, isLast ? high : high - 1e-9 * step)];
    if (first === end) {
      const middle = (low + high) / 2;
      if (middle < along[0] - slack || middle > along.at(-1) + slack) continue;
      const after = Math.min(first, along.length - 1);
      const before = Math.max(after - 1, 0);
      first = middle - along[before] <= along[after] - middle ? before : after;
      end = first + 1;
    }
    for (let i = first; i < end; i += 1) if (values[i] !== null && (out[pixel] === null || values[i] > out[pixel])) out[pixel] = values[i];
  }
  return out;
}
