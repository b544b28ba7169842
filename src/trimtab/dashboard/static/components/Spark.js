import { html, useMemo } from "../lib/ui.js";
import { number } from "../lib/format.js";
import { t } from "../lib/i18n.js";

/**
 * A small curve without axes: its shape, and its last point.
 * @param {{points: [number, number | null][], label?: string, width?: number, height?: number}} props
 *   points: [step, value]; a value that is null leaves a gap
 */
export function Spark({ points, label, width = 96, height = 24 }) {
  const drawn = useMemo(() => draw(points ?? [], width, height), [points, width, height]);
  if (!drawn) return html`<span class="spark-empty" aria-hidden="true"></span>`;
  const said = t("spark.label", { name: label ?? "", first: number(drawn.first), last: number(drawn.last) });
  return html`<svg class="spark" width=${width} height=${height} viewBox="0 0 ${width} ${height}" role="img" aria-label=${said}>
    <title>${said}</title>
    <path d=${drawn.path} />
    <circle cx=${drawn.x} cy=${drawn.y} r="2" />
  </svg>`;
}

function draw(points, width, height) {
  const known = points.filter(([, value]) => Number.isFinite(value));
  if (!known.length) return null;
  const xs = known.map(([step]) => step);
  const ys = known.map(([, value]) => value);
  const place = (value, low, high, from, to) => (high > low ? from + ((value - low) / (high - low)) * (to - from) : (from + to) / 2);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const at = ([step, value]) => [place(step, left, right, 2, width - 3), place(value, low, high, height - 3, 3)];
  let pen = "M";
  const path = points.map((point) => {
    if (!Number.isFinite(point[1])) {
      pen = "M";
      return "";
    }
    const [x, y] = at(point);
    const text = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
    return text;
  }).join("");
  const [x, y] = at(known[known.length - 1]);
  return { path, x: x.toFixed(1), y: y.toFixed(1), first: ys[0], last: ys[ys.length - 1] };
}
