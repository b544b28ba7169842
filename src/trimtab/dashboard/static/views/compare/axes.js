// The axes of parallel coordinates: numbers (logarithmic where they span decades), or categories in their order.

/**
 * @typedef {{key: string, kind: "linear"|"log"|"category", low: number, high: number, names: string[],
 *   place: (value: any) => number | null, ticks: {at: number, text: string}[]}} Axis places from 0 (foot) to 1 (top)
 */

/** @param {string} key @param {any[]} values of the runs; what is missing is null @returns {Axis} */
export function axisOf(key, values) {
  const there = values.filter((value) => value !== null && value !== undefined);
  const numeric = there.length > 0 && there.every((value) => typeof value === "number" && Number.isFinite(value));
  if (!numeric) return categories(key, there);
  const [low, high] = [Math.min(...there), Math.max(...there)];
  // Over a decade and more, as learning rates are tried, factors count and not distances.
  const log = low > 0 && high / low >= 10;
  const of = log ? Math.log10 : (x) => x;
  const span = of(high) - of(low);
  const place = (value) => (typeof value !== "number" ? null : span ? (of(value) - of(low)) / span : 0.5);
  return { key, kind: log ? "log" : "linear", low, high, names: [], place, ticks: ticksOf(there, place) };
}

function categories(key, values) {
  const names = [...new Set(values.map(textOf))].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const place = (value) => {
    if (value === null || value === undefined) return null;
    const at = names.indexOf(textOf(value));
    return names.length > 1 ? at / (names.length - 1) : 0.5;
  };
  return { key, kind: "category", low: 0, high: 1, names, place, ticks: spread(names.map((text) => ({ at: place(text), text }))) };
}

/** Any value of a recipe as text. @param {any} value @returns {string} */
export function textOf(value) {
  if (typeof value === "number") return short(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** The values themselves where they are few, else the ends and what lies between. */
function ticksOf(values, place) {
  const distinct = [...new Set(values)].sort((a, b) => a - b);
  const chosen = distinct.length <= 8 ? distinct : [0, 0.25, 0.5, 0.75, 1].map((share) => distinct[Math.round(share * (distinct.length - 1))]);
  return spread(chosen.map((value) => ({ at: place(value), text: short(value) })));
}

/** Ticks that would lie on each other are left out. */
function spread(ticks) {
  const kept = [];
  for (const tick of ticks) if (!kept.length || Math.abs(tick.at - kept.at(-1).at) > 0.045) kept.push(tick);
  return kept;
}

/** @param {number} value */
export function short(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(1).replace(".0e", "e").replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/** Whether a run lies within every brush. @param {Axis[]} axes @param {Record<string, [number, number]>} brushes @param {(key: string) => any} valueOf */
export function within(axes, brushes, valueOf) {
  return axes.every((axis) => {
    const brush = brushes[axis.key];
    if (!brush) return true;
    const at = axis.place(valueOf(axis.key));
    return at !== null && at >= brush[0] - 1e-9 && at <= brush[1] + 1e-9;
  });
}
