// One chart on uPlot: lines over a shared axis, with zoom and cursor shared in a group, marks, bands, a shaded gap,
// and export. Live rows are set into the same plot; nothing is built anew unless the lines themselves change.
import { html, useEffect, useMemo, useRef, useState } from "../lib/ui.js";
import uPlot from "../vendor/uPlot.esm.js";
import { useSize, useTheme } from "../lib/dom.js";
import { register, t, useLanguage } from "../lib/i18n.js";
import * as text from "../text/charts.js";
import { align, placer, upper } from "./data.js";
import { fade, resolve } from "./colors.js";
import { ExportMenu, chartFiles } from "./export.js";
import { gapPolygons } from "./gap.js";
import { Legend } from "./legend.js";
import { Marks } from "./marks.js";
import { axisText, options } from "./options.js";
import { needCss } from "./css.js";
import { drawOver, drawUnder } from "./overlay.js";
import { group, ownGroup } from "./group.js";
import { ribbons, withEdges } from "./ribbons.js";
import { smooth } from "./smoothing.js";

register(text);
await Promise.all([needCss("vendor/uPlot.min.css"), needCss("css/charts.css")]);

const GAP = ["--warn", "--good"]; // where the second curve lies above the first, and below

/**
 * @param {object} props
 * @param {Record<string, import("./data.js").Table>} props.tables
 * @param {import("./data.js").Line[]} props.lines
 * @param {"step"|"epoch"|"time"} [props.x]
 * @param {boolean} [props.log] logarithmic y; values that are not above 0 are left out
 * @param {number} [props.smoothing] weight of the past, from 0 to below 1; the raw line stays, thin
 * @param {string} [props.sync] charts of one name share zoom and cursor
 * @param {{step: number, severity: string, label: string, onClick?: () => void}[]} [props.marks]
 * @param {boolean} [props.buttons] whether marks are buttons here; else only their lines are drawn
 * @param {{from: number, to: number, label: string}[]} [props.bands] in steps
 * @param {[number, number]} [props.shade] indices of two lines whose gap is shaded
 * @param {[number, number] | null} [props.domain] the whole axis, where it is more than this chart's own rows
 * @param {boolean} [props.zero] y begins at 0
 * @param {number} [props.height] px @param {string} props.title @param {string} [props.note] one sentence under the title
 * @param {string} [props.whole] address of the CSV of all rows, where the chart shows a sample
 */
export function Chart(props) {
  const { tables, lines, x = "step", log = false, smoothing = 0, sync, marks = NONE, bands = NONE, shade, domain = null,
    height = 220, title, note, whole, buttons = true, zero = false } = props;
  const [lang] = useLanguage();
  const theme = useTheme();
  const holder = useRef(null);
  const plot = useRef(null);
  const { width } = useSize(holder);
  const [own] = useState(ownGroup);
  const shared = group(sync ?? own);
  const [hidden, setHidden] = useState(() => new Set());
  const [view, setView] = useState({ min: 0, max: 0, left: 0, width: 0 });
  const legend = useRef(null);

  const place = useMemo(() => placer(tables, x), [tables, x]);
  const prepared = useMemo(
    () => prepare(tables, lines, x, log, smoothing, hidden),
    [tables, JSON.stringify(lines), x, log, smoothing, hidden, theme],
  );
  const gap = useMemo(
    () => (shade && shade.every((i) => lines[i] && !hidden.has(lines[i].label)) ? gapPolygons(prepared.x, ...shade.map((i) => prepared.shown[i])) : null),
    [prepared, shade?.join()],
  );
  const latest = useRef({});
  latest.current = { marks, bands, gap, place, domain, prepared };
  const structure = JSON.stringify([prepared.drawn, x, log, theme, lang, zero, sync]);

  useEffect(() => {
    if (!width || !holder.current) return undefined;
    let last = "";
    const follow = (u) => {
      const ratio = devicePixelRatio || 1;
      const now = { min: u.scales.x.min, max: u.scales.x.max, left: u.bbox.left / ratio, width: u.bbox.width / ratio };
      if (JSON.stringify(now) !== last) setView(now);
      last = JSON.stringify(now);
    };
    const u = new uPlot(
      options({
        width, height, axis: x, log, drawn: prepared.drawn, zero,
        range: () => shared.range ?? latest.current.domain,
        reset: () => shared.zoom(null),
        hooks: {
          drawAxes: [(self) => drawUnder(self, { ...latest.current, gapColors: GAP.map((name) => fade(resolve(name), 0.22)) })],
          draw: [(self) => { drawOver(self, latest.current.marks, latest.current.place); follow(self); }],
          setSelect: [(self) => select(self, shared)],
        },
      }),
      prepared.data,
      holder.current,
    );
    plot.current = u;
    const hover = (event) => shared.point(u.posToVal(event.clientX - u.over.getBoundingClientRect().left, "x"), u);
    u.over.addEventListener("mousemove", hover);
    u.over.addEventListener("mouseleave", () => shared.point(null, u));
    const stop = shared.listen({
      range: () => u.setData(u.data, true),
      cursor: (at, source) => {
        if (source !== u) point(u, at);
        legend.current?.(at === null ? null : near(u.data[0], at));
      },
    });
    return () => {
      stop();
      u.destroy();
      plot.current = null;
    };
  }, [structure, width > 0, shared]);

  useEffect(() => {
    if (plot.current && plot.current.data !== prepared.data) plot.current.setData(prepared.data, true);
  }, [prepared]);
  useEffect(() => { if (width) plot.current?.setSize({ width, height }); }, [width, height]);
  useEffect(() => plot.current?.setData(plot.current.data, true), [domain?.join()]);
  useEffect(() => plot.current?.redraw(false), [marks, bands, gap]);

  const toggle = (label) => setHidden((old) => new Set(old.has(label) ? [...old].filter((one) => one !== label) : [...old, label]));
  const files = () => chartFiles({ title, plot: plot.current, prepared, lines, axis: x, log, bands, marks, gap, place, tables });
  return html`<figure class="chart" role="group" aria-label=${title}>
    <figcaption class="chart-head">
      <div><h3>${title}</h3>${note && html`<p class="chart-note">${note}</p>`}</div>
      <${ExportMenu} title=${title} files=${files} whole=${whole} />
    </figcaption>
    <${Legend} lines=${lines} prepared=${prepared} hidden=${hidden} toggle=${toggle} axisText=${axisText(x)} axis=${x} update=${legend} />
    <div class="chart-plot" tabindex="0" role="group" aria-label=${`${title}. ${t("chart.keys")}`}
      onKeyDown=${(event) => keys(event, plot.current, shared)}>
      <div ref=${holder} style=${{ height: `${height}px` }}></div>
      ${buttons && html`<${Marks} marks=${marks} place=${place} view=${view} />`}
    </div>
  </figure>`;
}

const NONE = [];

/** Columns as drawn: with smoothing, the raw line thin and faint below the smoothed one. */
function prepare(tables, lines, axis, log, smoothing, hidden) {
  const { x, columns: all } = align(tables, withEdges(lines), axis);
  const columns = all.slice(0, lines.length);
  const positive = log ? columns.map((column) => column.map((v) => (v === undefined || v > 0 ? v : null))) : columns;
  const drawn = [];
  const data = [x];
  const shown = lines.map((line, i) => {
    const color = resolve(line.color, i);
    const smoothed = smoothing > 0 && line.smooth !== false;
    const column = smoothed ? smooth(positive[i], x, smoothing) : positive[i];
    if (hidden.has(line.label)) return column;
    const base = { color, side: line.side, dash: line.dash, points: line.points ?? countAtMost(positive[i], 60) };
    if (smoothed) {
      drawn.push({ ...base, raw: true, width: 1, alpha: 0.28 });
      data.push(positive[i]);
    }
    drawn.push({ ...base, raw: false, width: line.width ?? 1.8, alpha: line.alpha ?? 1 });
    data.push(column);
    return column;
  });
  for (const { column, look } of ribbons(lines, all, hidden, log)) {
    drawn.push(look);
    data.push(column);
  }
  return { x, raw: columns, shown, drawn, data };
}

function countAtMost(column, most) {
  let n = 0;
  for (const value of column) if (Number.isFinite(value) && (n += 1) > most) return false;
  return true;
}

function select(u, shared) {
  if (u.select.width < 6) return;
  const range = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
  u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  shared.zoom(range);
}

/** Moves a chart's cursor to a place that the mouse has in another chart. */
function point(u, at) {
  const inside = at !== null && at >= u.scales.x.min && at <= u.scales.x.max;
  u.setCursor({ left: inside ? u.valToPos(at, "x") : -10, top: inside ? u.over.clientHeight / 2 : -10 }, false);
}

function near(x, at) {
  const i = upper(x, at);
  if (i === 0) return 0;
  return i < x.length && x[i] - at < at - x[i - 1] ? i : i - 1;
}

function keys(event, u, shared) {
  if (!u || event.target !== event.currentTarget) return;
  const { min, max } = u.scales.x;
  const x = u.data[0];
  const at = shared.cursor ?? max;
  const zoom = (factor) => {
    const middle = Math.min(Math.max(at, min), max);
    const range = [middle - (middle - min) * factor, middle + (max - middle) * factor];
    shared.zoom(factor > 1 && range[0] <= x[0] && range[1] >= x.at(-1) ? null : range);
  };
  const act = {
    ArrowLeft: () => shared.point(x[Math.max(near(x, at) - (event.shiftKey ? 10 : 1), 0)], null),
    ArrowRight: () => shared.point(x[Math.min(near(x, at) + (event.shiftKey ? 10 : 1), x.length - 1)], null),
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => shared.zoom(null), Escape: () => shared.point(null, null),
  }[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey || !x.length) return;
  event.preventDefault();
  act();
}
