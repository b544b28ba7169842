// Charts as files: PNG (what is seen), SVG (drawn from the data) and CSV (the numbers).
import { html, useRef, useState } from "../lib/ui.js";
import { cssColor, download, useDismiss } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { firstTime, positions } from "./data.js";
import { resolve } from "./colors.js";
import { axisText, logTicks, tickText } from "./options.js";
import { severityColor } from "./overlay.js";
import { outlines } from "./ribbons.js";
import { chartSvg } from "./svg.js";

const TYPES = { png: "image/png", svg: "image/svg+xml", csv: "text/csv" };

/**
 * The menu at a chart's corner.
 * @param {{title: string, files: () => {png?: () => Promise<Blob> | Blob, svg?: () => string, csv?: () => string},
 *   kinds?: ("png" | "svg" | "csv")[], whole?: string}} props
 *   kinds: the files there are; whole: address of all rows, where the chart's own are a sample
 */
export function ExportMenu({ title, files, whole, kinds = ["png", "svg", "csv"] }) {
  const [open, setOpen] = useState(false);
  const box = useRef(null);
  const escape = useDismiss(box, open, () => setOpen(false));
  const save = async (kind) => {
    setOpen(false);
    const content = await files()[kind]();
    if (content) download(`${title}.${kind}`, content, TYPES[kind]);
  };
  return html`<div class="menu menu-end export" ref=${box} onKeyDown=${escape}>
    <button type="button" class="button button-icon" aria-label=${t("chart.save", { title })} title=${t("chart.save", { title })}
      aria-expanded=${open} onClick=${() => setOpen(!open)}><span aria-hidden="true">⤓</span></button>
    ${open && html`<div class="menu-box export-box">
      ${kinds.map((kind) => html`<button key=${kind} type="button" class="menu-option" onClick=${() => save(kind)}>${t(`chart.${kind}`)}</button>`)}
      ${whole && html`<a class="menu-option" href=${whole} download>${t("chart.whole")}</a>`}
    </div>`}
  </div>`;
}

/** The files of a chart on uPlot. @returns {{png: () => Promise<Blob>, svg: () => string, csv: () => string}} */
export function chartFiles(about) {
  return {
    png: () => pngOf(about.plot.ctx.canvas, about.title, legendOf(about)),
    svg: () => svgOf(about),
    csv: () => csvOf(about),
  };
}

function legendOf({ lines, plotted = lines }) {
  return plotted.map((line, i) => ({ label: line.label, color: resolve(line.color, i) }));
}

/**
 * A canvas with title and legend on the page's ground.
 * @param {HTMLCanvasElement} canvas @param {string} title @param {{label: string, color: string}[]} legend
 * @returns {Promise<Blob>}
 */
export function pngOf(canvas, title, legend) {
  const scale = devicePixelRatio || 1;
  const out = document.createElement("canvas");
  const rows = [[]];
  const ctx = out.getContext("2d");
  const font = (size, weight = 400) => `${weight} ${size * scale}px system-ui, sans-serif`;
  ctx.font = font(12);
  let used = 0;
  for (const item of legend) {
    const wide = ctx.measureText(item.label).width + 44 * scale;
    if (used + wide > canvas.width - 24 * scale && rows.at(-1).length) [used] = [0, rows.push([])];
    rows.at(-1).push({ ...item, at: used + 12 * scale });
    used += wide;
  }
  const head = (34 + 18 * (legend.length ? rows.length : 0)) * scale;
  out.width = canvas.width;
  out.height = canvas.height + head + 8 * scale;
  ctx.fillStyle = cssColor("--surface") || "#fff";
  ctx.fillRect(0, 0, out.width, out.height);
  ctx.fillStyle = cssColor("--fg") || "#000";
  ctx.font = font(14, 600);
  ctx.fillText(title, 12 * scale, 22 * scale);
  ctx.font = font(12);
  rows.forEach((row, i) => row.forEach((item) => {
    const y = (44 + 18 * i) * scale;
    ctx.fillStyle = item.color;
    ctx.fillRect(item.at, y - 5 * scale, 16 * scale, 2.5 * scale);
    ctx.fillStyle = cssColor("--fg") || "#000";
    ctx.fillText(item.label, item.at + 21 * scale, y);
  }));
  ctx.drawImage(canvas, 0, head);
  return new Promise((resolved) => { out.toBlob(resolved, "image/png"); });
}

/** The colours of a drawing in this theme. */
export function paper() {
  return {
    ground: cssColor("--surface") || "#fff", ink: cssColor("--fg") || "#000", muted: cssColor("--muted") || "#666",
    grid: cssColor("--line") || "#ddd", gap: [cssColor("--warn") || "#c80", cssColor("--good") || "#080"],
  };
}

function svgOf({ title, plot, prepared, lines, axis, log, bands, marks, gap, place }) {
  const { x, left, right } = plot.scales;
  const y = Number.isFinite(left.min) ? left : right;
  const ticks = plot.axes.map((one) => one._splits ?? []);
  const drawn = prepared.drawn.map((series, i) => ({ ...series, values: prepared.data[i + 1], label: "" }));
  const named = lines.map((line, i) => ({ label: line.label, color: resolve(line.color, i), dash: line.dash, values: [] }));
  const inside = (at) => at >= x.min && at <= x.max;
  return chartSvg({
    title,
    x: { min: x.min, max: x.max, ticks: ticks[0].filter(inside), text: axisText(axis), label: t(`axis.${axis}`), values: prepared.x },
    y: { min: y.min, max: y.max, ticks: log ? logTicks(y.min, y.max) : ticks[1].filter((tick) => tick >= y.min && tick <= y.max), text: (value) => tickText(value, log ? 0 : ticks[1][1] - ticks[1][0]), log },
    lines: [...drawn.filter(({ edge }) => !edge), ...named],
    ribbons: outlines(drawn, prepared.x),
    bands: bands.map((band) => ({ ...band, from: place(band.from), to: place(band.to) })),
    marks: marks.map((mark) => ({ at: place(mark.step), label: mark.label, color: severityColor(mark.severity) })).filter(({ at }) => inside(at)),
    gap: gap ?? [],
    colors: paper(),
  });
}

/** The numbers of the chart, a row a step: step, epoch, seconds since the start, and a column a line, three of one with a band. */
function csvOf({ tables, lines: drawn }) {
  const edge = (line, end) => ({ ...line, name: line[end], label: `${line.label} (${end})` });
  const lines = drawn.flatMap((line) => (line.low ? [line, edge(line, "low"), edge(line, "high")] : [line]));
  const used = [...new Set(lines.map((line) => line.table))].filter((name) => tables[name]?.step?.length);
  const origin = firstTime(used.map((name) => tables[name]));
  const rows = new Map();
  for (const name of used) {
    const table = tables[name];
    const seconds = table.time ? positions(table, "time", table.origin ?? origin) : [];
    table.step.forEach((step, i) => {
      const row = rows.get(step) ?? [step, table.epoch?.[i], seconds[i], ...lines.map(() => null)];
      lines.forEach((line, k) => { if (line.table === name) row[3 + k] = table.series[line.name]?.[i]; });
      rows.set(step, row);
    });
  }
  return csv([["step", "epoch", "seconds", ...lines.map((line) => line.label)], ...[...rows.values()].sort((a, b) => a[0] - b[0])]);
}

/** Rows as CSV; text that a spreadsheet would take for a formula gets a quote before it. @param {any[][]} rows */
export function csv(rows) {
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}
