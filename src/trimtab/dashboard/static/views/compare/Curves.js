// The runs' curves over one another, or those of groups of runs with their mean and a band.
import { html, useMemo } from "../../lib/ui.js";
import { known, t } from "../../lib/i18n.js";
import { useStored } from "../../lib/dom.js";
import { Choice, Toggle } from "../../components/Toggle.js";
import { Waiting } from "../../components/Notice.js";
import { Chart } from "../../charts/chart.js";
import { grouped, meanTable } from "./groups.js";
import { look } from "./colors.js";
import { MOST_CURVES } from "./store.js";

const AXES = ["step", "epoch", "time"];

/** @param {{runs: any[], found: any, curves: Record<string, any>, looks: Record<string, any>}} props */
export function Curves({ runs, found, curves, looks }) {
  const [how, setHow] = useStored("compare.curves", { x: "step", log: false, smoothing: 0, by: "", band: "range", series: null });
  const change = (part) => setHow((old) => ({ ...old, ...part }));
  const drawn = runs.slice(0, MOST_CURVES);
  const there = drawn.filter(({ id }) => curves[id]);
  const names = useMemo(() => seriesOf(there.map(({ id }) => curves[id])), [curves, there.map(({ id }) => id).join("\n")]);
  const chosen = useMemo(() => chosenSeries(names, how.series, runs), [names, how.series, runs]);
  const by = how.by === "" || how.by === "seeds" || found.differs.some(({ key }) => key === how.by) ? how.by : "";
  const toggle = (name) => change({ series: chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name] });
  return html`<section class="card compare-curves" aria-label=${t("compare.curves")}>
    <div class="compare-tools">
      <${Choice} label=${t("compare.axis")} value=${how.x} onChange=${(x) => change({ x })} options=${AXES.map((id) => ({ id, label: t(`compare.axis.${id}`) }))} />
      <${Toggle} label=${t("compare.log")} on=${how.log} onChange=${(log) => change({ log })} />
      <label class="compare-smooth">${t("compare.smoothing")} <input type="range" min="0" max="0.98" step="0.02" value=${how.smoothing} onInput=${(event) => change({ smoothing: Number(event.currentTarget.value) })} /></label>
      <label>${t("compare.by")} <select value=${by} onChange=${(event) => change({ by: event.currentTarget.value })}>
        <option value="" selected=${by === ""}>${t("compare.by.none")}</option>
        <option value="seeds" selected=${by === "seeds"}>${t("compare.by.seeds")}</option>
        ${found.differs.map(({ key }) => html`<option key=${key} value=${key} selected=${by === key}>${key}</option>`)}
      </select></label>
      ${by && html`<${Choice} label=${t("compare.band")} value=${how.band} onChange=${(band) => change({ band })} options=${[
        { id: "range", label: t("compare.band.range"), title: t("compare.band.range.title") },
        { id: "error", label: t("compare.band.error"), title: t("compare.band.error.title") },
      ]} />`}
      <details class="compare-series"><summary>${t("compare.series", { n: chosen.length, all: names.length })}</summary>
        <div class="menu-box">${names.map((name) => html`<label class="menu-option" key=${name}><input type="checkbox" checked=${chosen.includes(name)} onChange=${() => toggle(name)} /> ${titleOf(name)}</label>`)}</div></details>
    </div>
    ${!there.length && html`<${Waiting} />`}
    <div class="compare-charts">${chosen.map((name) => html`<${Overlay} key=${name} name=${name} runs=${there} curves=${curves} looks=${looks} how=${how} by=${by} found=${found} />`)}</div>
  </section>`;
}

function Overlay({ name, runs, curves, looks, how, by, found }) {
  const { tables, lines } = useMemo(
    () => (by ? meansOf(name, runs, curves, by, found, how) : linesOf(name, runs, curves, looks)),
    [name, runs, curves, looks, by, how.x, how.band, found],
  );
  const note = by ? t(how.band === "range" ? "compare.band.range.title" : "compare.band.error.title") : undefined;
  return html`<${Chart} title=${titleOf(name)} note=${note} tables=${tables} lines=${lines} x=${by && how.x === "step" ? "step" : how.x} log=${how.log} smoothing=${how.smoothing} sync="compare" height=${250} />`;
}

/** A line a run. */
function linesOf(name, runs, curves, looks) {
  const with_ = runs.filter(({ id }) => tableOf(curves[id], name));
  return {
    tables: Object.fromEntries(with_.map(({ id }) => [id, tableOf(curves[id], name)])),
    lines: with_.map(({ id, label }) => ({ table: id, name: shortOf(name), label, color: looks[id].color, dash: looks[id].dash })),
  };
}

/** A line a group; `low` and `high` are the edges of its band. */
function meansOf(name, runs, curves, by, found, how) {
  const groups = grouped(runs, by, found);
  const tables = {};
  const lines = [];
  groups.forEach((group, i) => {
    const own = group.ids.map((id) => tableOf(curves[id], name)).filter(Boolean);
    if (!own.length) return;
    tables[group.name] = meanTable(own, shortOf(name), how.x, how.band);
    const { color, dash } = look(i);
    lines.push({ table: group.name, name: "mean", label: t("compare.group", { name: group.name, n: own.length }), color, dash, width: 2.2, low: "low", high: "high" });
  });
  return { tables, lines };
}

// A series is known by its table and its name, as "evaluation:validation/loss".
const shortOf = (name) => name.slice(name.indexOf(":") + 1);

function tableOf(tables, name) {
  const table = tables?.[name.slice(0, name.indexOf(":"))];
  return table?.series?.[shortOf(name)] ? table : null;
}

function titleOf(name) {
  const short = shortOf(name);
  if (known(`compare.name.${short}`)) return t(`compare.name.${short}`);
  const [where, rest] = [short.slice(0, short.indexOf("/")), short.slice(short.indexOf("/") + 1)];
  return where === "validation" || where === "held_in" ? t(`compare.name.${where}`, { name: rest }) : short;
}

/** Every series of the runs, training and validation first. */
function seriesOf(all) {
  const names = new Set();
  for (const tables of all) {
    for (const [table, { series }] of Object.entries(tables)) Object.keys(series).forEach((name) => names.add(`${table}:${name}`));
  }
  const order = (name) => [name === "step:loss", name.startsWith("evaluation:validation/loss"), name.startsWith("evaluation:validation/")].findIndex(Boolean);
  const rank = (name) => (order(name) < 0 ? 9 : order(name));
  return [...names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

/** What was chosen before, as far as the runs have it; else loss and the metric that most runs are judged by. */
function chosenSeries(names, kept, runs) {
  const there = kept?.filter((name) => names.includes(name));
  if (kept && (there.length || !kept.length)) return there;
  const metric = runs.find((run) => run.metric)?.metric;
  return ["step:loss", "evaluation:validation/loss", `evaluation:validation/${metric}`].filter((name) => names.includes(name));
}
