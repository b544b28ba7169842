// Rows of the data as the model sees them: which labels it confuses, how far its probabilities can be trusted, the rows
// it is most wrong about, and those whose label is in doubt.
import { html, useEffect, useMemo, useState } from "../../lib/ui.js";
import { get, runPath } from "../../lib/api.js";
import { number } from "../../lib/format.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../components/Button.js";
import { Notice, Waiting } from "../../components/Notice.js";
import { Choice } from "../../components/Toggle.js";
import { Matrix } from "../../charts/matrix.js";
import { Reliability } from "../../charts/reliability.js";
import { RowList } from "./row_list.js";

/** @param {{run: object}} props */
export function Rows({ run }) {
  const { has = {}, suspects = [] } = run.detail;
  const [filter, setFilter] = useState({ kind: has.predictions ? "worst" : "suspect", label: "", predicted: "" });
  const matrix = useMatrix(run, has.predictions);
  if (!has.predictions && !suspects.length) return html`<p class="empty">${t(run.live ? "rows.soon" : "rows.none")}</p>`;
  const cell = (label, predicted) => {
    const same = filter.kind === "all" && filter.label === label && filter.predicted === predicted;
    setFilter(same ? { kind: "worst", label: "", predicted: "" } : { kind: "all", label, predicted });
    document.getElementById("rows-list")?.scrollIntoView({ block: "nearest" });
  };
  const chosen = filter.label && filter.predicted ? filter : null;
  return html`<section class="rows" aria-label=${t("run.tab.rows")}>
    ${matrix.error && html`<${Notice} error=${matrix.error} />`}
    ${matrix.data && html`<div class="rows-charts">
      ${matrix.data.counts?.length > 0 && html`<div class="card"><${Matrix} labels=${matrix.data.labels} counts=${matrix.data.counts} onCell=${cell} chosen=${chosen} /></div>`}
      ${matrix.data.reliability?.bins?.some((bin) => bin.rows > 0) && html`<div class="card"><${Reliability} ...${matrix.data.reliability} /></div>`}
    </div>`}
    <div class="card" id="rows-list"><${Filtered} run=${run} filter=${filter} setFilter=${setFilter} labels=${matrix.data?.labels ?? run.detail.start?.labels ?? []} has=${has} /></div>
  </section>`;
}

function useMatrix(run, there) {
  const [answer, setAnswer] = useState({});
  useEffect(() => {
    if (!there) return undefined;
    let wanted = true;
    get(runPath(run.id, "/matrix")).then((data) => wanted && setAnswer({ data }), (error) => wanted && setAnswer({ error }));
    return () => { wanted = false; };
  }, [run.id, there]);
  return answer;
}

function Filtered({ run, filter, setFilter, labels, has }) {
  const [page, setPage] = useState(0);
  const [answer, setAnswer] = useState({});
  const query = useMemo(() => new URLSearchParams(Object.entries(filter).filter(([, value]) => value)).toString(), [filter]);
  useEffect(() => setPage(0), [query]);
  useEffect(() => {
    let wanted = true;
    setAnswer((old) => ({ ...old, busy: true }));
    get(runPath(run.id, `/rows?${query}&page=${page}`)).then((data) => wanted && setAnswer({ data }), (error) => wanted && setAnswer({ error }));
    return () => { wanted = false; };
  }, [run.id, query, page, run.summary.state]);
  const { data, error, busy } = answer;
  const kinds = [has.predictions && "worst", (run.detail.suspects ?? []).length > 0 && "suspect", has.predictions && "all"].filter(Boolean);
  const choose = (name) => (event) => setFilter({ ...filter, [name]: event.currentTarget.value });
  const select = (name, label) => html`<label class="rows-filter"><span>${label}</span>
    <select value=${filter[name]} onChange=${choose(name)}><option value="">${t("rows.any")}</option>${labels.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}</select></label>`;
  return html`<div class="rows-bar"><h2>${t("rows.title")}</h2>
      <${Choice} label=${t("rows.kind")} value=${filter.kind} onChange=${(kind) => setFilter({ ...filter, kind })} options=${kinds.map((id) => ({ id, label: t(`rows.${id}`) }))} />
      ${select("label", t("rows.label"))} ${select("predicted", t("rows.prediction"))}
      ${(filter.label || filter.predicted) && html`<${Button} kind="quiet" onClick=${() => setFilter({ ...filter, label: "", predicted: "" })}>${t("rows.clear")}<//>`}
      <span class="muted small rows-total" role="status">${data ? t("rows.total", { n: data.total === 1 ? 1 : number(data.total, 9) }) : ""}</span></div>
    <p class="small muted">${t(`rows.${filter.kind}.note`)}</p>
    ${error && html`<${Notice} error=${error} />`}
    ${!data && !error && html`<${Waiting} />`}
    ${data && html`<div class=${busy ? "is-waiting" : ""}><${RowList} run=${run} rows=${data.rows} kind=${filter.kind} /></div>`}
    ${data?.pages > 1 && html`<nav class="pager" aria-label=${t("rows.pages")}>
      <${Button} disabled=${page === 0} onClick=${() => setPage(page - 1)}>${t("rows.previous")}<//>
      <span>${t("rows.page", { page: page + 1, pages: data.pages })}</span>
      <${Button} disabled=${page + 1 >= data.pages} onClick=${() => setPage(page + 1)}>${t("rows.next")}<//></nav>`}`;
}
