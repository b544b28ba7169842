// A chart as an SVG of its own, drawn from the data, with title, axes and legend: for papers and slides.

const MARGIN = { left: 62, right: 20, top: 40, bottom: 64 };

/** Text that can stand in markup. @param {any} text */
export function escaped(text) {
  return String(text).replace(/[&<>"']/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[sign])
    // eslint-disable-next-line no-control-regex
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, "\ufffd");
}

/**
 * @param {object} about
 * @param {string} about.title @param {number} [about.width] @param {number} [about.height] px
 * @param {{min: number, max: number, ticks: number[], text: (value: number) => string, label: string, values: number[]}} about.x
 * @param {{min: number, max: number, ticks: number[], text: (value: number) => string, log: boolean}} about.y
 * @param {{label: string, color: string, dash?: number[], width?: number, values: (number|null|undefined)[]}[]} about.lines
 * @param {{from: number, to: number, label: string}[]} [about.bands] on the axis
 * @param {{color: string, opacity: number, points: [number, number][]}[]} [about.ribbons] filled, below the lines
 * @param {{above: boolean, points: [number, number][]}[]} [about.gap]
 * @param {{at: number, label: string, color: string}[]} [about.marks]
 * @param {{ground: string, ink: string, muted: string, grid: string, gap: [string, string]}} about.colors
 * @returns {string} a whole SVG document
 */
export function chartSvg({ title, width = 900, height = 420, x, y, lines, bands = [], ribbons = [], gap = [], marks = [], colors }) {
  const inner = { left: MARGIN.left, top: MARGIN.top, right: width - MARGIN.right, bottom: height - MARGIN.bottom };
  const level = y.log ? Math.log10 : (value) => value;
  const px = (value) => round(inner.left + ((value - x.min) / (x.max - x.min || 1)) * (inner.right - inner.left));
  const py = (value) => round(inner.bottom - ((level(value) - level(y.min)) / (level(y.max) - level(y.min) || 1)) * (inner.bottom - inner.top));
  const parts = [
    `<rect width="${width}" height="${height}" fill="${escaped(colors.ground)}"/>`,
    `<clipPath id="plot"><rect x="${inner.left}" y="${inner.top}" width="${inner.right - inner.left}" height="${inner.bottom - inner.top}"/></clipPath>`,
    text(MARGIN.left, 24, title, { size: 15, weight: 600, color: colors.ink }),
    ...x.ticks.map((tick) => line(px(tick), inner.top, px(tick), inner.bottom, colors.grid) + text(px(tick), inner.bottom + 16, x.text(tick), { anchor: "middle", color: colors.muted })),
    ...y.ticks.map((tick) => line(inner.left, py(tick), inner.right, py(tick), colors.grid) + text(inner.left - 6, py(tick) + 4, y.text(tick), { anchor: "end", color: colors.muted })),
    text(inner.right, inner.bottom + 32, x.label, { anchor: "end", color: colors.muted }),
    `<g clip-path="url(#plot)">`,
    ...bands.map((band, i) => (i % 2 ? `<rect x="${px(band.from)}" y="${inner.top}" width="${round(px(band.to) - px(band.from))}" height="${inner.bottom - inner.top}" fill="${escaped(colors.muted)}" opacity="0.1"/>` : "")
      + text(px(Math.max(band.from, x.min)) + 4, inner.bottom - 5, band.label, { size: 10.5, color: colors.muted })),
    ...gap.map((piece) => `<polygon points="${piece.points.map(([a, b]) => `${px(a)},${py(b)}`).join(" ")}" fill="${escaped(colors.gap[piece.above ? 0 : 1])}" opacity="0.22"/>`),
    ...ribbons.map(({ color, opacity, points }) => `<polygon points="${points.map(([a, b]) => `${px(a)},${py(b)}`).join(" ")}" fill="${escaped(color)}" opacity="${opacity}"/>`),
    ...lines.map((one) => `<path d="${path(x.values, one.values, px, py, y.log)}" fill="none" stroke="${escaped(one.color)}" stroke-width="${one.width ?? 1.8}"${one.dash ? ` stroke-dasharray="${one.dash.join(" ")}"` : ""}${one.alpha < 1 ? ` opacity="${one.alpha}"` : ""} stroke-linejoin="round"/>`),
    ...marks.map((mark) => line(px(mark.at), inner.top, px(mark.at), inner.bottom, mark.color, "3 3") + `<g><title>${escaped(mark.label)}</title>${text(px(mark.at) + 3, inner.top + 11, mark.label, { size: 10, color: mark.color })}</g>`),
    "</g>",
    legend(lines.filter((one) => one.label), inner.left, height - 14, colors),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, 'Noto Sans', 'Noto Sans CJK SC', sans-serif" role="img"><title>${escaped(title)}</title>${parts.join("")}</svg>\n`;
}

const round = (value) => Math.round(value * 100) / 100;

/** Lines break at null (a value that is missing), and go on through undefined (a row of another table). */
function path(xs, values, px, py, log) {
  let pen = "M";
  let d = "";
  values.forEach((value, i) => {
    if (value === null || (log && value <= 0)) pen = "M";
    if (!Number.isFinite(value) || (log && value <= 0)) return;
    d += `${pen}${px(xs[i])} ${py(value)}`;
    pen = "L";
  });
  return d;
}

function line(x1, y1, x2, y2, color, dash) {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="${escaped(color)}"${dash ? ` stroke-dasharray="${dash}"` : ""}/>`;
}

function text(x, y, content, { size = 11, anchor = "start", color, weight = 400 }) {
  return `<text x="${x}" y="${y}" font-size="${size}" text-anchor="${anchor}" font-weight="${weight}" fill="${escaped(color)}">${escaped(content)}</text>`;
}

function legend(lines, left, baseline, colors) {
  let at = left;
  return lines.map((one) => {
    const place = at;
    at += 40 + 6.4 * [...one.label].reduce((sum, sign) => sum + (sign > "\u2e80" ? 1.8 : 1), 0);
    return `<line x1="${place}" y1="${baseline - 4}" x2="${place + 18}" y2="${baseline - 4}" stroke="${escaped(one.color)}" stroke-width="2.5"${one.dash ? ` stroke-dasharray="${one.dash.join(" ")}"` : ""}/>` + text(place + 23, baseline, one.label, { color: colors.ink });
  }).join("");
}
