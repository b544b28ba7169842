// Exponential smoothing that tells the truth at the start and at gaps.

/**
 * Exponential moving average with bias correction (Kingma & Ba 2015, section 3: divided by the weight gathered so far,
 * so that the first values are not drawn towards 0).
 *
 * The weight of the past decays with the distance along `positions`, not with the number of rows: a curve that was
 * downsampled, or that was loaded finer in a part after a zoom, is smoothed alike.
 * @param {(number | null | undefined)[]} values null or undefined where there is none; such gaps stay
 * @param {number[]} positions ascending, for example steps
 * @param {number} factor weight of the past over one `unit`, from 0 (no smoothing) to below 1
 * @param {number} [unit] distance of one decay; by default `spacing(positions)`
 * @returns {(number | null | undefined)[]} as long as `values`; a copy where factor is 0
 */
export function smooth(values, positions, factor, unit = spacing(values, positions)) {
  if (!(factor > 0)) return values.slice();
  let [sum, weight, last] = [0, 0, null];
  return values.map((value, i) => {
    if (!Number.isFinite(value)) return value;
    const decay = last === null ? 0 : Math.min(factor, 1) ** (Math.max(positions[i] - last, 0) / unit);
    sum = decay * sum + (1 - factor) * value;
    weight = decay * weight + (1 - factor);
    last = positions[i];
    return sum / weight;
  });
}

/**
 * One decay's distance: the least distance between two values, but no less than a thousandth of the whole range, so that
 * rows taken close together (least and greatest of a bucket) do not count as the spacing of a long run.
 * @param {(number | null | undefined)[]} values @param {number[]} positions @returns {number} above 0
 */
export function spacing(values, positions) {
  let [first, last, least] = [null, null, Infinity];
  values.forEach((value, i) => {
    if (!Number.isFinite(value)) return;
    if (last !== null && positions[i] > last) least = Math.min(least, positions[i] - last);
    first ??= positions[i];
    last = positions[i];
  });
  if (!Number.isFinite(least)) return 1;
  return Math.max(least, (last - first) / 1000);
}
