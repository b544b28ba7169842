// A band around a line, from one series of its table to another: the spread of the runs behind a mean.
import { fade, resolve } from "./colors.js";

const STRENGTH = 0.16;

/** The lines, and after them the edges of those that have a band: low, then high. @param {import("./data.js").Line[]} lines */
export function withEdges(lines) {
  const edges = lines.filter((line) => line.low).flatMap((line) => [{ ...line, name: line.low }, { ...line, name: line.high }]);
  return [...lines, ...edges];
}

/**
 * The columns of the edges of lines that are shown, drawn without a stroke: high, then low.
 * @param {import("./data.js").Line[]} lines @param {(number | null | undefined)[][]} columns of `withEdges`
 * @param {Set<string>} hidden @param {boolean} log
 */
export function ribbons(lines, columns, hidden, log) {
  let at = lines.length;
  const found = [];
  lines.forEach((line, i) => {
    if (!line.low) return;
    const [low, high] = [columns[at], columns[at + 1]].map((column) => (log ? column.map((v) => (v === undefined || v > 0 ? v : null)) : column));
    at += 2;
    if (hidden.has(line.label)) return;
    const look = { color: resolve(line.color, i), side: line.side, dash: undefined, points: false, raw: true, width: 0, alpha: 0 };
    found.push({ column: high, look: { ...look, edge: "high" } }, { column: low, look: { ...look, edge: "low" } });
  });
  return found;
}

/**
 * For an SVG: the outlines of what is filled, in values; one breaks where an edge is missing, and goes on through
 * undefined (a row of another table).
 * @param {object[]} drawn with `values` @param {number[]} xs
 * @returns {{color: string, opacity: number, points: [number, number][]}[]}
 */
export function outlines(drawn, xs) {
  return drawn.flatMap(({ edge, color, values }, i) => {
    if (edge !== "high") return [];
    const low = drawn[i + 1].values;
    const pieces = [[]];
    xs.forEach((x, k) => {
      if (Number.isFinite(values[k]) && Number.isFinite(low[k])) pieces.at(-1).push([x, values[k], low[k]]);
      else if (values[k] === null || low[k] === null) pieces.push([]);
    });
    return pieces.filter((piece) => piece.length > 1).map((piece) => ({
      color, opacity: STRENGTH, points: [...piece.map(([x, high]) => [x, high]), ...piece.reverse().map(([x, , under]) => [x, under])],
    }));
  });
}

/** For uPlot: what is filled, from each high edge to the low one after it. @param {object[]} drawn */
export function bandsOf(drawn) {
  return drawn.flatMap(({ edge, color }, i) => (edge === "high" ? [{ series: [i + 1, i + 2], fill: fade(color, STRENGTH) }] : []));
}
