// The options of uPlot for one chart: scales, axes, series, cursor. No state is kept here.
import { duration, number } from "../lib/format.js";
import { cssColor } from "../lib/dom.js";
import { fade } from "./colors.js";
import { bandsOf } from "./ribbons.js";
import { nearest } from "./data.js";

/** How a place on the axis is written. @param {"step"|"epoch"|"time"} axis @returns {(value: number) => string} */
export function axisText(axis) {
  if (axis === "time") return (value) => (value < 1 ? "0" : duration(value));
  if (axis === "epoch") return (value) => number(Math.round(value * 100) / 100, 5);
  return (value) => number(Math.round(value), 9);
}

/**
 * A number on an axis or under the cursor: short, and never rounded to the same text as its neighbour.
 * @param {number} value @param {number} [apart] the distance between two ticks
 */
export function tickText(value, apart = 0) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  return value.toFixed(placesOf(apart)).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

/** Places after the point that tell apart what lies so far apart: two for 0.25. @param {number} apart */
function placesOf(apart) {
  if (!(apart > 0)) return 4;
  for (let places = 0; places < 6; places += 1) {
    const whole = apart * 10 ** places;
    if (Math.abs(whole - Math.round(whole)) < 1e-6 * whole) return places;
  }
  return 6;
}

/**
 * @param {{width: number, height: number, axis: "step"|"epoch"|"time", log: boolean, drawn: object[],
 *   range: () => [number, number] | null, hooks: object, reset: () => void, zero: boolean}} about
 * @returns {object} for `new uPlot(options, data, element)`
 */
export function options({ width, height, axis, log, drawn, range, hooks, reset, zero }) {
  const right = drawn.some((series) => series.side === "right");
  return {
    width,
    height,
    padding: [18, right ? 4 : 14, 0, 0],
    legend: { show: false },
    focus: { alpha: 1 },
    scales: {
      x: { time: false, range: (u, least, most) => widened(...(range() ?? [least, most])) },
      left: yScale(log, zero),
      right: yScale(log, zero),
    },
    axes: [xAxis(axis), yAxis("left", 3, log), ...(right ? [{ ...yAxis("right", 1, log), grid: { show: false } }] : [])],
    series: [{}, ...drawn.map(seriesOptions)],
    bands: bandsOf(drawn),
    cursor: {
      y: false,
      drag: { x: true, y: false, setScale: false, dist: 6 },
      points: { size: 7, width: 1.5, fill: (u, i) => (drawn[i - 1].edge ? "transparent" : drawn[i - 1].color) },
      dataIdx: (u, i, hovered) => (i === 0 ? hovered : nearest(u.data[0], u.data[i], hovered)),
      bind: { dblclick: () => () => reset() },
    },
    hooks,
  };
}

function yScale(log, zero) {
  if (log) return { distr: 3, range: (u, least, most) => logRange(least, most) };
  return { range: (u, least, most) => linearRange(least, most, zero) };
}

/** A range with some air, that begins at 0 where the values come near it. @returns {[number, number]} */
export function linearRange(least, most, zero) {
  if (!Number.isFinite(least) || !Number.isFinite(most)) return [0, 1];
  const span = isRange(least, most) ? most - least : Math.abs(most) || 1;
  const touches = zero || (least >= 0 && least < 0.25 * span);
  return [touches && least >= 0 ? 0 : least - 0.06 * span, most + 0.06 * span];
}

/** @returns {[number, number]} the values with some air, both above 0 */
export function logRange(least, most) {
  if (!(least > 0) || !(most > 0)) return [0.1, 1];
  return least === most ? [least / 2, most * 2] : [least / (most / least) ** 0.06, most * (most / least) ** 0.06];
}

/** A range of places that has a width: a run at its first step, or a deep zoom, may give one without. @returns {[number, number]} */
export function widened(least, most) {
  if (!Number.isFinite(least) || !Number.isFinite(most)) return [0, 1];
  return isRange(least, most) ? [least, most] : [least - 0.5, most + 0.5];
}

/** Whether ticks fit between: below the precision of numbers uPlot adds them without end. */
function isRange(least, most) {
  return most - least > 1e-9 * Math.max(Math.abs(least), Math.abs(most));
}

function xAxis(axis) {
  const text = axisText(axis);
  return {
    ...paint(), size: 26, gap: 3, space: axis === "time" ? 90 : 64,
    incrs: axis === "time" ? [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800] : undefined,
    values: (u, places) => places.map((place) => (axis === "step" && place % 1 ? "" : text(place))),
  };
}

function yAxis(scale, side, log) {
  return {
    ...paint(), scale, side, size: 52, gap: 4, space: log ? 24 : 34,
    values: (u, ticks, index, space, apart) => ticks.map((tick) => (tick === null ? "" : tickText(tick, log ? 0 : apart))),
    ...(log ? { splits: (u) => logTicks(u.scales[scale].min, u.scales[scale].max), filter: (u, ticks) => ticks } : {}),
  };
}

/** Powers of ten, with their doubles and fives where the range is short. @returns {number[]} */
export function logTicks(least, most) {
  const decades = Math.log10(most / least);
  const within = decades > 5 ? [1] : decades > 1.6 ? [1, 3] : [1, 2, 3, 5, 7];
  const ticks = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most); power += decades > 12 ? 3 : 1) {
    for (const factor of within) ticks.push(Number((factor * 10 ** power).toPrecision(2)));
  }
  return ticks.filter((tick) => tick >= least && tick <= most);
}

function paint() {
  const line = cssColor("--line") || "#ddd";
  return {
    stroke: cssColor("--muted") || "#666",
    font: "11px system-ui, sans-serif",
    grid: { stroke: line, width: 1 },
    ticks: { stroke: line, width: 1, size: 4 },
  };
}

function seriesOptions({ color, side, dash, width, alpha, raw, points }) {
  return {
    scale: side === "right" ? "right" : "left",
    stroke: fade(color, alpha),
    width,
    dash,
    spanGaps: false,
    points: raw ? { show: false } : { show: points, size: 5, width: 1.5, stroke: color, fill: cssColor("--bg") || "#fff" },
  };
}
