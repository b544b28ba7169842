// What charts share: the part of the axis in view, and the place of the cursor.

const groups = new Map();
let anonymous = 0;

/** A name for a chart that shares with no other. @returns {string} */
export function ownGroup() {
  anonymous += 1;
  return `chart-${anonymous}`;
}

/**
 * @typedef {{range: [number, number] | null, cursor: number | null,
 *   zoom: (range: [number, number] | null) => void, point: (x: number | null, source: any) => void,
 *   listen: (listener: {range?: (range: [number, number] | null) => void,
 *     cursor?: (x: number | null, source: any) => void}) => () => void}} Group
 */

/** The group of a name, made when first asked for. @param {string} name @returns {Group} */
export function group(name) {
  if (!groups.has(name)) groups.set(name, create());
  return groups.get(name);
}

/** Forgets a group: the next page with this name starts without a zoom. @param {string} name */
export function forget(name) {
  groups.delete(name);
}

function create() {
  const listeners = new Set();
  const shared = {
    range: null,
    cursor: null,
    zoom(range) {
      shared.range = range && range[1] > range[0] ? range : null;
      for (const listener of [...listeners]) listener.range?.(shared.range);
    },
    point(x, source) {
      shared.cursor = x;
      for (const listener of [...listeners]) listener.cursor?.(x, source);
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  return shared;
}
