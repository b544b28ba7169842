// Blocks by depth over time as colours on a logarithmic scale, with the values under the cursor beside it.
import { html, useEffect, useMemo, useRef, useState } from "../lib/ui.js";
import { cssColor, useSize, useTheme } from "../lib/dom.js";
import { register, t } from "../lib/i18n.js";
import * as text from "../text/charts.js";
import { needCss } from "./css.js";
import { heat, heatColor } from "./colors.js";
import { firstTime, positions } from "./data.js";
import { ExportMenu, csv, pngOf } from "./export.js";
import { group, ownGroup } from "./group.js";
import { colorRange, perPixel, shareOf } from "./heat_data.js";
import { heatSvg } from "./heat_svg.js";
import { reading } from "./legend.js";
import { axisText, tickText } from "./options.js";

register(text);
await needCss("css/charts.css");

/**
 * @param {object} props
 * @param {import("./data.js").Table} props.table @param {string} props.kind prefix of the series, for example "update_ratio"
 * @param {string[]} props.blocks from the foot of the model to its head
 * @param {Record<string, object>} props.tables all tables of the run: the common start of the time axis
 * @param {"step"|"epoch"|"time"} props.x @param {string} [props.sync] @param {[number, number] | null} props.domain
 * @param {string} props.title @param {string} [props.note]
 * @param {any} [props.choice] what stands beside the title
 * @param {{step: number, severity: string}[]} [props.marks] @param {(step: number) => number} props.place
 */
export function Heatmap({ table, kind, blocks, tables, x, sync, domain, title, note, marks = NONE, place, choice }) {
  const [own] = useState(ownGroup);
  const shared = group(sync ?? own);
  const theme = useTheme();
  const frame = useRef(null);
  const canvas = useRef(null);
  const { width } = useSize(frame);
  const [range, setRange] = useState(shared.range);
  const [cursor, setCursor] = useState(null);
  const [drag, setDrag] = useState(null);
  const rows = useMemo(() => blocks.map((block) => table.series[`${kind}/${block}`] ?? []).reverse(), [table, kind, blocks.join("|")]);
  const names = useMemo(() => [...blocks].reverse(), [blocks.join("|")]);
  const along = useMemo(() => positions(table, x, table.origin ?? firstTime(Object.values(tables))), [table, x]);
  const colors = useMemo(() => colorRange(rows), [rows]);
  const [from, to] = range ?? domain ?? [along[0] ?? 0, along.at(-1) ?? 1];
  const height = Math.min(Math.max(Math.round(190 / names.length), 13), 26);

  useEffect(() => shared.listen({ range: setRange, cursor: setCursor }), [shared]);
  useEffect(() => {
    if (!canvas.current || !(width > 0) || !colors) return;
    paint(canvas.current, { rows, along, from, to, colors, width, height, marks, place });
  }, [rows, along, from, to, colors, width, height, theme, marks, place]);
  if (!colors) return null;

  const at = cursor === null ? along.length - 1 : nearestRow(along, cursor);
  const value = (event) => {
    const box = canvas.current.getBoundingClientRect();
    return from + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * (to - from);
  };
  const move = (event) => {
    shared.point(value(event), "heat");
    if (drag) setDrag({ ...drag, to: value(event) });
  };
  const release = (event) => {
    if (drag && Math.abs(value(event) - drag.from) > (to - from) / 100) shared.zoom([drag.from, value(event)].sort((a, b) => a - b));
    setDrag(null);
  };
  const press = (event) => {
    if (event.button !== 0) return;
    event.currentTarget.setPointerCapture?.(event.pointerId);
    setDrag({ from: value(event), to: value(event) });
  };
  const percent = (placed) => `${Math.min(Math.max((100 * (placed - from)) / (to - from || 1), 0), 100)}%`;
  const files = () => ({
    png: () => pngOf(withNames(canvas.current, names, height), title, []),
    svg: () => heatSvg({ title, names, rows, along, from, to, colors, axisText: axisText(x), axisLabel: t(`axis.${x}`) }),
    csv: () => csv([["step", "epoch", ...[...names].reverse()], ...table.step.map((step, i) => [step, table.epoch?.[i], ...[...rows].reverse().map((row) => row[i])])]),
  });
  const said = t("heat.label", { title, n: names.length, low: tickText(colors[0]), high: tickText(colors[1]) });
  return html`<figure class="chart heat" role="group" aria-label=${title}>
    <figcaption class="chart-head"><div><h3>${title}</h3>${note && html`<p class="chart-note">${note}</p>`}</div>
      <div class="chart-side">${choice}<${ExportMenu} title=${title} files=${files} /></div></figcaption>
    <div class="legend"><span class="legend-x">${at >= 0 ? `${t(`axis.${x}`)} ${axisText(x)(along[at])}` : ""}</span>
      <${Scale} colors=${colors} /></div>
    <div class="heat-body" style=${{ "--row": `${height}px` }}>
      <div class="heat-names">${names.map((name) => html`<span key=${name} title=${name}>${name}</span>`)}</div>
      <div class="heat-frame" ref=${frame} style=${{ height: `${height * names.length}px` }} onPointerMove=${move} onPointerDown=${press}
          onPointerUp=${release} onPointerLeave=${() => drag || shared.point(null, "heat")} onDblClick=${() => shared.zoom(null)}>
        <canvas ref=${canvas} role="img" aria-label=${said}></canvas>
        ${cursor !== null && cursor >= from && cursor <= to && html`<div class="heat-cursor" style=${{ left: percent(cursor) }}></div>`}
        ${drag && html`<div class="heat-select" style=${{ left: percent(Math.min(drag.from, drag.to)), right: `calc(100% - ${percent(Math.max(drag.from, drag.to))})` }}></div>`}
      </div>
      <div class="heat-values">${rows.map((row, i) => html`<span key=${names[i]}>${Number.isFinite(row[at]) ? reading(row[at]) : "–"}</span>`)}</div>
    </div>
    <div class="heat-axis"><span>${axisText(x)(from)}</span><span>${axisText(x)(to)}</span></div>
  </figure>`;
}

const NONE = [];

function Scale({ colors }) {
  const stops = Array.from({ length: 9 }, (_, i) => heatColor(i / 8)).join(",");
  const middle = Math.sqrt(colors[0] * colors[1]);
  return html`<span class="heat-scale"><span>${tickText(colors[0])}</span>
    <span class="heat-bar" style=${{ background: `linear-gradient(90deg, ${stops})` }}></span>
    <span>${tickText(colors[1])}</span><span class="visually-hidden">${t("heat.middle", { value: tickText(middle) })}</span>
    <span class="heat-none" aria-hidden="true"></span><span>${t("heat.none")}</span></span>`;
}

function nearestRow(along, place) {
  let best = -1;
  along.forEach((value, i) => { if (best < 0 || Math.abs(value - place) < Math.abs(along[best] - place)) best = i; });
  return best;
}

function paint(canvas, { rows, along, from, to, colors, width, height, marks, place }) {
  const scale = devicePixelRatio || 1;
  const pixels = Math.max(Math.round(width * scale), 1);
  canvas.width = pixels;
  canvas.height = Math.round(rows.length * height * scale);
  const ctx = canvas.getContext("2d");
  const image = ctx.createImageData(pixels, rows.length);
  rows.forEach((values, y) => perPixel(along, values, from, to, pixels).forEach((value, x) => {
    if (!(value > 0)) return;
    image.data.set([...heat(shareOf(value, colors)), 255], 4 * (y * pixels + x));
  }));
  const small = document.createElement("canvas");
  small.width = pixels;
  small.height = rows.length;
  small.getContext("2d").putImageData(image, 0, 0);
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(small, 0, 0, pixels, rows.length, 0, 0, pixels, canvas.height);
  ctx.fillStyle = cssColor("--surface") || "#fff";
  for (let row = 1; row < rows.length; row += 1) ctx.fillRect(0, Math.round(row * height * scale), pixels, Math.max(Math.round(scale / 2), 1));
  ctx.setLineDash([3 * scale, 3 * scale]);
  ctx.strokeStyle = "rgba(255,255,255,0.8)";
  for (const mark of marks) {
    const x = Math.round(((place(mark.step) - from) / (to - from)) * pixels) + 0.5;
    ctx.beginPath();
    ctx.moveTo(x, 0);
    ctx.lineTo(x, canvas.height);
    ctx.stroke();
  }
}

/** The canvas with the names of its rows, for a file. */
function withNames(canvas, names, height) {
  const scale = devicePixelRatio || 1;
  const left = 110 * scale;
  const out = document.createElement("canvas");
  out.width = canvas.width + left + 12 * scale;
  out.height = canvas.height;
  const ctx = out.getContext("2d");
  ctx.drawImage(canvas, left, 0);
  ctx.fillStyle = cssColor("--fg") || "#000";
  ctx.font = `${11 * scale}px system-ui, sans-serif`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "right";
  names.forEach((name, i) => ctx.fillText(name, left - 8 * scale, (i + 0.5) * height * scale, left - 14 * scale));
  return out;
}
