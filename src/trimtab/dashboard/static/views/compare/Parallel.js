// Parallel coordinates: an axis a key, a line a run; a brush on an axis keeps the runs that pass through it.
import { html, useMemo, useRef, useState } from "../../lib/ui.js";
import { t } from "../../lib/i18n.js";
import { useSize } from "../../lib/dom.js";
import { interval } from "../../lib/format.js";
import { runHash } from "../../lib/router.js";
import { Button } from "../../components/Button.js";
import { axisOf, textOf, within } from "./axes.js";

const HEIGHT = 320;
const TOP = 34;
const FOOT = 14;
const METRIC = "";
const NARROWEST = 120; // px between two axes; narrower windows scroll

/** @param {{runs: any[], keys: string[], found: any, metric: string, looks: Record<string, any>}} props */
export function Parallel({ runs, keys, found, metric }) {
  const holder = useRef(null);
  const { width } = useSize(holder);
  const [brushes, setBrushes] = useState({});
  const [hovered, setHovered] = useState(null);
  const values = useMemo(() => Object.fromEntries(found.differs.map(({ key, values: own }) => [key, own])), [found]);
  const valueOf = (run) => (key) => (key === METRIC ? run.value : values[key]?.[run.id] ?? null);
  const axes = useMemo(() => [...keys, METRIC].map((key) => axisOf(key, runs.map((run) => valueOf(run)(key)))), [keys.join("\n"), runs, values]);
  const full = Math.max(width, NARROWEST * axes.length);
  const x = (i) => 70 + ((full - 140) * i) / Math.max(1, axes.length - 1);
  const y = (place) => TOP + (HEIGHT - TOP - FOOT) * (1 - place);
  const kept = runs.filter((run) => within(axes, brushes, valueOf(run)));
  const lineOf = (run) => axes.map((axis, i) => [x(i), axis.place(valueOf(run)(axis.key))]).filter(([, place]) => place !== null).map(([at, place], i) => `${i ? "L" : "M"}${at},${y(place)}`).join("");
  const setBrush = (key, range) => setBrushes((old) => {
    const { [key]: _, ...rest } = old;
    return range ? { ...rest, [key]: range } : rest;
  });
  const shade = axes.at(-1);
  return html`<div class="parallel-head"><p class="muted">${t("compare.parallel.about")}</p>
      <span role="status" class="small">${t("compare.parallel.kept", { n: kept.length, all: runs.length })}</span>
      ${Object.keys(brushes).length > 0 && html`<${Button} kind="quiet" onClick=${() => setBrushes({})}>${t("compare.parallel.clear")}<//>`}</div>
    <div class="parallel table-scroll" ref=${holder} tabindex="0" role="region" aria-label=${t("compare.parallel")}>
      ${width > 0 && html`<svg width=${full} height=${HEIGHT} role="group" aria-label=${t("compare.parallel.label", { n: runs.length })}>
        <g class="parallel-lines" aria-hidden="true">
          ${runs.map((run) => html`<path key=${run.id} d=${lineOf(run)} class=${kept.includes(run) ? (hovered === run.id ? "is-hovered" : "") : "is-out"}
            stroke=${shadeOf(run.higher_is_better === false ? 1 - shade.place(run.value) : shade.place(run.value))} onMouseEnter=${() => setHovered(run.id)} onMouseLeave=${() => setHovered(null)}><title>${run.label}</title></path>`)}
        </g>
        ${axes.map((axis, i) => html`<${AxisLine} key=${axis.key} axis=${axis} name=${axis.key === METRIC ? metric : axis.key} x=${x(i)} y=${y} last=${i === axes.length - 1} brush=${brushes[axis.key]} setBrush=${(range) => setBrush(axis.key, range)} />`)}
      </svg>`}
    </div>
    <${Kept} runs=${kept} all=${runs.length} keys=${keys} valueOf=${valueOf} metric=${metric} hovered=${hovered} setHovered=${setHovered} />`;
}

/** From the worst to the best; the place on the axis tells the same. */
function shadeOf(place) {
  return `color-mix(in srgb, var(--series-1) ${Math.round(100 * (place ?? 0))}%, var(--series-2))`;
}

/** One axis with its ticks and its brush, by mouse or by keys (arrows move the end that has the focus). */
function AxisLine({ axis, name, x, y, brush, setBrush, last }) {
  const group = useRef(null);
  const start = useRef(null);
  const placeAt = (event) => {
    const box = group.current.ownerSVGElement.getBoundingClientRect();
    return Math.min(1, Math.max(0, 1 - (event.clientY - box.top - y(1)) / (y(0) - y(1))));
  };
  const down = (event) => {
    start.current = placeAt(event);
    event.currentTarget.setPointerCapture(event.pointerId);
  };
  const move = (event) => {
    if (start.current === null) return;
    const now = placeAt(event);
    if (Math.abs(now - start.current) > 0.02) setBrush([Math.min(now, start.current), Math.max(now, start.current)]);
  };
  const up = (event) => {
    if (start.current !== null && Math.abs(placeAt(event) - start.current) <= 0.02) setBrush(null);
    start.current = null;
  };
  const [low, high] = brush ?? [0, 1];
  return html`<g class="parallel-axis" ref=${group}>
    <line key="line" x1=${x} x2=${x} y1=${y(1)} y2=${y(0)} />
    <text key="name" x=${x} y="14" class="parallel-name" text-anchor="middle">${shortName(name)}<title>${name}</title></text>
    ${axis.ticks.map((tick) => html`<text key=${`tick ${tick.text}`} x=${x + 13} y=${y(tick.at) + 4} class="parallel-tick">${tick.text.length > 14 ? `${tick.text.slice(0, 13)}…` : tick.text}</text>`)}
    ${brush && html`<rect key="brush" class="parallel-brush" x=${x - 9} width="18" y=${y(high)} height=${Math.max(2, y(low) - y(high))} />`}
    <rect key="catch" class="parallel-catch" x=${x - 16} width="32" y=${y(1) - 6} height=${y(0) - y(1) + 12} onPointerDown=${down} onPointerMove=${move} onPointerUp=${up} data-axis=${axis.key || "metric"} />
    ${[["low", low], ["high", high]].map(([end, place]) => html`<rect key=${end} class=${`parallel-handle${brush ? " is-set" : ""}`} x=${x - 9} width="18" y=${y(place) - 4} height="8" rx="2" tabindex="0" role="slider"
      aria-label=${t(`compare.brush.${end}`, { name })} aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(100 * place)} aria-valuetext=${valueText(axis, place)} aria-orientation="vertical"
      onKeyDown=${(event) => nudge(event, axis, end, [low, high], setBrush)} onPointerDown=${down} onPointerMove=${move} onPointerUp=${up} />`)}
  </g>`;
}

function nudge(event, axis, end, [low, high], setBrush) {
  if (event.key === "Escape" || event.key === "Delete") {
    setBrush(null);
    return;
  }
  const way = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
  if (!way) return;
  event.preventDefault();
  const step = axis.kind === "category" && axis.names.length > 1 ? 1 / (axis.names.length - 1) : 0.05;
  const bounded = (value) => Math.min(1, Math.max(0, value));
  setBrush(end === "low" ? [Math.min(bounded(low + way * step), high), high] : [low, Math.max(bounded(high + way * step), low)]);
}

function valueText(axis, place) {
  if (axis.kind === "category") return axis.names[Math.round(place * (axis.names.length - 1))] ?? "";
  const value = axis.kind === "log" ? 10 ** (Math.log10(axis.low) + place * Math.log10(axis.high / axis.low)) : axis.low + place * (axis.high - axis.low);
  return String(Number(value.toPrecision(3)));
}

function shortName(name) {
  const last = name.split(".").slice(-1)[0];
  return last.length > 18 ? `${last.slice(0, 17)}…` : last;
}

/** The runs that are left, the best first: the same as the lines, in words. */
function Kept({ runs, all, keys, valueOf, metric, hovered, setHovered }) {
  const up = runs.find((run) => run.metric)?.higher_is_better !== false;
  const sorted = [...runs].sort((a, b) => (up ? b.value - a.value : a.value - b.value)).slice(0, 10);
  if (!runs.length) return html`<p class="empty-line parallel-kept">${t("compare.parallel.none")}</p>`;
  return html`<div class="table-scroll parallel-kept" tabindex="0" role="region" aria-label=${t("compare.best.runs")}><table class="table parallel-table"><caption>${t(runs.length < all ? "compare.best.kept" : "compare.best.runs", { n: sorted.length })}</caption>
    <thead><tr><th scope="col">${t("compare.run")}</th><th scope="col">${metric}</th>${keys.map((key) => html`<th scope="col" key=${key} title=${key}>${shortName(key)}</th>`)}</tr></thead>
    <tbody>${sorted.map((run) => html`<tr key=${run.id} class=${hovered === run.id ? "is-hovered" : ""} onMouseEnter=${() => setHovered(run.id)} onMouseLeave=${() => setHovered(null)}>
      <th scope="row"><a href=${runHash(run.id)}>${run.label}</a></th><td>${interval(run.value, run.low, run.high)}</td>
      ${keys.map((key) => html`<td key=${key}>${valueOf(run)(key) === null ? "–" : textOf(valueOf(run)(key))}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}
