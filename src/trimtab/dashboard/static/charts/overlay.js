// What lies on a chart's canvas beside its lines: bands of stages, the gap, and the lines of marks.
import { cssColor } from "../lib/dom.js";
import { fade } from "./colors.js";

/** The colour of a severity ("act", "warning", "info") or of an action. @param {string} severity */
export function severityColor(severity) {
  const name = { act: "--bad", refuse: "--bad", warning: "--warn", info: "--accent" }[severity] ?? "--muted";
  return cssColor(name) || "#888";
}

/**
 * Under the lines: stages by turns shaded, and the gap between two curves.
 * @param {object} u uPlot @param {{bands: {from: number, to: number, label: string}[], gap: object[] | null,
 *   place: (step: number) => number, gapColors: [string, string]}} about
 */
export function drawUnder(u, { bands, gap, place, gapColors }) {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  bands.forEach((band, i) => {
    const from = Math.max(u.valToPos(place(band.from), "x", true), left);
    const to = Math.min(u.valToPos(place(band.to), "x", true), left + width);
    if (to <= from) return;
    if (i % 2 === 1) {
      ctx.fillStyle = fade(cssColor("--muted") || "#888", 0.1);
      ctx.fillRect(from, top, to - from, height);
    }
    if (band.label) writeBand(u, band.label, from, to);
  });
  for (const piece of gap ?? []) {
    ctx.fillStyle = gapColors[piece.above ? 0 : 1];
    ctx.beginPath();
    piece.points.forEach(([x, y], i) => ctx[i ? "lineTo" : "moveTo"](u.valToPos(x, "x", true), u.valToPos(y, "left", true)));
    ctx.fill();
  }
  ctx.restore();
}

function writeBand(u, label, from, to) {
  const { ctx } = u;
  const scale = devicePixelRatio || 1;
  ctx.font = `${10.5 * scale}px system-ui, sans-serif`;
  ctx.textBaseline = "bottom";
  ctx.textAlign = "left";
  if (ctx.measureText(label).width > to - from - 8 * scale) return;
  ctx.fillStyle = cssColor("--muted") || "#666";
  ctx.fillText(label, from + 4 * scale, u.bbox.top + u.bbox.height - 3 * scale);
}

/**
 * Over the lines: a dashed line at each mark.
 * @param {object} u uPlot @param {{severity: string, step: number}[]} marks @param {(step: number) => number} place
 */
export function drawOver(u, marks, place) {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  const scale = devicePixelRatio || 1;
  ctx.save();
  ctx.lineWidth = scale;
  ctx.setLineDash([3 * scale, 3 * scale]);
  for (const mark of marks) {
    const at = Math.round(u.valToPos(place(mark.step), "x", true)) + 0.5;
    if (at < left || at > left + width) continue;
    ctx.strokeStyle = fade(severityColor(mark.severity), 0.75);
    ctx.beginPath();
    ctx.moveTo(at, top);
    ctx.lineTo(at, top + height);
    ctx.stroke();
  }
  ctx.restore();
}
