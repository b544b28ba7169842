// The gap between two curves, as polygons: where the second lies above the first, and where below.

/**
 * Cuts the area between two curves at their crossings. Both are taken as straight between their own points; where one
 * has a real gap (null) or has not begun, there is no area.
 * @param {number[]} x ascending @param {(number|null|undefined)[]} first @param {(number|null|undefined)[]} second
 * @returns {{above: boolean, points: [number, number][]}[]} above: the second curve lies above the first; points go
 *   along the first curve and back along the second, as [x, y]
 */
export function gapPolygons(x, first, second) {
  const a = filled(x, first);
  const b = filled(x, second);
  const pieces = [];
  let piece = null;
  const close = () => {
    if (piece && piece.there.length > 1) {
      pieces.push({ above: piece.above, points: [...piece.there, ...piece.back.reverse()] });
    }
    piece = null;
  };
  const add = (at, low, high) => {
    piece.there.push([at, low]);
    piece.back.push([at, high]);
  };
  for (let i = 0; i < x.length; i += 1) {
    if (a[i] === null || b[i] === null) {
      close();
      continue;
    }
    const above = b[i] >= a[i];
    if (piece && above !== piece.above) {
      const before = b[i - 1] - a[i - 1];
      const share = before / (before - (b[i] - a[i]));
      const at = x[i - 1] + share * (x[i] - x[i - 1]);
      const value = a[i - 1] + share * (a[i] - a[i - 1]);
      add(at, value, value);
      close();
      piece = { above, there: [], back: [] };
      add(at, value, value);
    }
    piece ??= { above, there: [], back: [] };
    add(x[i], a[i], b[i]);
  }
  close();
  return pieces;
}

/** Values at every x: straight between points over rows of other tables (undefined), null outside and at gaps. */
function filled(x, values) {
  const out = new Array(x.length).fill(null);
  let last = null;
  values.forEach((value, i) => {
    if (value === null) last = null;
    if (!Number.isFinite(value)) return;
    out[i] = value;
    for (let k = last === null ? i : last + 1; k < i; k += 1) {
      out[k] = values[last] + ((x[k] - x[last]) / (x[i] - x[last])) * (value - values[last]);
    }
    last = i;
  });
  return out;
}
