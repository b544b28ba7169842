// All curves of a run: zoom and cursor are shared, and live rows are appended without drawing anything anew.
import { html, useEffect, useMemo, useRef, useState } from "../../lib/ui.js";
import { get, runPath } from "../../lib/api.js";
import { useStored } from "../../lib/dom.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../components/Button.js";
import { Choice, Toggle } from "../../components/Toggle.js";
import { Chart } from "../../charts/chart.js";
import { Heatmap } from "../../charts/heatmap.js";
import { domainOf, placer, stepper } from "../../charts/data.js";
import { blocksOf, rowsOf } from "../../charts/heat_data.js";
import { group } from "../../charts/group.js";
import { specs } from "./specs.js";
import { useMarks } from "./marks.js";
import { spliced } from "./tables.js";

const HEAT = ["update_ratio", "grad_norm", "weight_norm"];
const POINTS = 1500;
const LATER = 350; // ms after the last move of a zoom, before finer rows are asked for

/** @param {{run: object}} props */
export function Curves({ run }) {
  const [x, setX] = useStored("run.axis", "step");
  const [log, setLog] = useStored("run.log", false);
  const [smoothing, setSmoothing] = useStored("run.smoothing", 0);
  const [shownMarks, setShownMarks] = useStored("run.marks", true);
  const { tables, zoomed } = useZoomed(run, x);
  const { marks, bands, dialog } = useMarks(run);
  const domain = useMemo(() => domainOf(run.tables, x), [run.tables, x]);
  const list = useMemo(() => specs(tables, run.summary, run.detail.start), [tables, run.summary.metric]);
  const unnamed = useMemo(() => bands.map((band) => ({ ...band, label: "" })), [bands]);
  const shared = { tables, x, sync: run.sync, domain, marks: shownMarks ? marks : NONE };
  if (!domain) return html`<p class="empty">${t(run.live ? "curves.soon" : "curves.none")}</p>`;
  const whole = (spec) => runPath(run.id, `/export?table=${encodeURIComponent(spec.lines[0].table)}`);
  return html`<section class="curves" aria-label=${t("run.tab.curves")}>
    <div class="curves-bar">
      <${Choice} label=${t("curves.axis")} value=${x} onChange=${(axis) => { group(run.sync).zoom(null); setX(axis); }}
        options=${["step", "epoch", "time"].map((id) => ({ id, label: t(`axis.${id}`) }))} />
      <label class="slider"><span>${t("curves.smoothing")}</span>
        <input type="range" min="0" max="0.99" step="0.01" value=${smoothing} onInput=${(event) => setSmoothing(Number(event.currentTarget.value))} />
        <output>${smoothing ? smoothing.toFixed(2) : t("curves.off")}</output></label>
      <${Toggle} label=${t("curves.log")} on=${log} onChange=${setLog} />
      <${Toggle} label=${t("curves.marks")} on=${shownMarks} onChange=${setShownMarks} />
      <${Button} disabled=${!zoomed} onClick=${() => group(run.sync).zoom(null)}>${t("curves.reset")}<//>
      <span class="curves-hint small muted">${t("curves.hint")}</span>
    </div>
    <div class="chart-grid">
      ${[...list.filter(({ wide }) => wide), HEAT_PLACE, ...list.filter(({ wide }) => !wide)].map((spec, i) => (spec === HEAT_PLACE
        ? html`<${Heat} key="heat" run=${run} shared=${shared} />`
        : html`<div key=${spec.id} class=${spec.wide ? "chart-cell chart-wide" : "chart-cell"}>
        <${Chart} ...${shared} bands=${spec.wide ? bands : unnamed} title=${spec.title} note=${spec.note} lines=${spec.lines} shade=${spec.shade} zero=${spec.zero} log=${log && spec.id !== "metric" && spec.id !== "metrics"}
          smoothing=${smoothing} height=${i === 0 ? 270 : 190} buttons=${Boolean(spec.wide)} whole=${whole(spec)} /></div>`))}
    </div>
    ${dialog}
  </section>`;
}

const NONE = [];
const HEAT_PLACE = { id: "heat" };

function Heat({ run, shared }) {
  const [kind, setKind] = useStored("run.heat", "update_ratio");
  const { signals } = shared.tables;
  const kinds = useMemo(() => HEAT.filter((one) => blocksOf(signals, one).length), [signals]);
  const place = useMemo(() => placer(shared.tables, shared.x), [shared.tables, shared.x]);
  const chosen = kinds.includes(kind) ? kind : kinds[0];
  const table = useMemo(() => rowsOf(signals, chosen), [signals, chosen]);
  const blocks = useMemo(() => blocksOf(table, chosen), [table, chosen]);
  if (!chosen) return null;
  return html`<div class="chart-cell chart-wide">
    <${Heatmap} table=${table} kind=${chosen} blocks=${blocks} tables=${shared.tables} x=${shared.x} sync=${run.sync} domain=${shared.domain}
      marks=${shared.marks} place=${place} title=${t(`heat.${chosen}.title`)} note=${t(`heat.${chosen}.note`)}
      choice=${html`<${Choice} label=${t("heat.kind")} value=${chosen} onChange=${setKind} options=${kinds.map((id) => ({ id, label: t(`heat.${id}`) }))} />`} />
  </div>`;
}

/**
 * While zoomed into tables that are a sample, the part in view is asked for in full and put in its place.
 * @returns {{tables: Record<string, object>, zoomed: boolean}}
 */
function useZoomed(run, x) {
  const shared = group(run.sync);
  const [range, setRange] = useState(shared.range);
  const [detail, setDetail] = useState(null);
  const current = useRef(null);
  current.current = run.tables;
  useEffect(() => shared.listen({ range: setRange }), [shared]);
  useEffect(() => {
    setDetail(null);
    const sampled = Object.entries(current.current).filter(([, table]) => table.sampled).map(([name]) => name);
    if (!range || !sampled.length) return undefined;
    let wanted = true;
    const timer = setTimeout(async () => {
      const step = stepper(current.current, x);
      const [from, to] = [Math.max(Math.floor(step(range[0])), 0), Math.ceil(step(range[1]))];
      try {
        const answer = await get(runPath(run.id, `/series?points=${POINTS}&from=${from}&to=${to}&tables=${sampled.join(",")}`));
        if (wanted) setDetail({ from, to, tables: answer.tables ?? {} });
      } catch {
        // The sample stays on the screen: coarser, but right. The next zoom asks again.
      }
    }, LATER);
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [range, x, run.id]);
  const tables = useMemo(() => {
    if (!detail) return run.tables;
    const finer = Object.entries(detail.tables).map(([name, table]) => [name, run.tables[name] ? spliced(run.tables[name], table, detail.from, detail.to) : table]);
    return { ...run.tables, ...Object.fromEntries(finer) };
  }, [run.tables, detail]);
  return { tables, zoomed: range !== null };
}
