// Several runs side by side: their curves, what differs in their recipes, their figures, and whether chance explains it.
import { html, useEffect, useMemo, useState } from "../lib/ui.js";
import { register, t, useLanguage } from "../lib/i18n.js";
import { go, joinIds, runHash, splitIds, withQuery } from "../lib/router.js";
import { measure } from "../lib/format.js";
import { Button } from "../components/Button.js";
import { StateBadge } from "../components/Badge.js";
import { Notice, Waiting } from "../components/Notice.js";
import { needCss } from "../charts/css.js";
import * as text from "../text/compare.js";
import { Curves } from "./compare/Curves.js";
import { Differences, Figures } from "./compare/Tables.js";
import { PairTest } from "./compare/PairTest.js";
import { Picker } from "./compare/Picker.js";
import { Search } from "./compare/Search.js";
import { Swatch } from "./compare/Swatch.js";
import { useLooks } from "./compare/colors.js";
import { MOST_CURVES, useComparison } from "./compare/store.js";

register(text);
await needCss("css/compare.css");

/** @param {{route: import("../lib/router.js").Route}} props */
export default function Compare({ route }) {
  useLanguage();
  const ids = useMemo(() => [...new Set(splitIds(route.query.runs))], [route.query.runs]);
  const { found, curves, evaluations, error, retry } = useComparison(ids);
  const looks = useLooks(ids);
  const [hidden, setHidden] = useState(() => new Set());
  const [picking, setPicking] = useState(false);
  const show = (next) => go(withQuery("#/compare", { runs: joinIds(next) }));
  useEffect(() => {
    document.title = `${t("compare.title")} – Trimtab`;
    return () => { document.title = "Trimtab"; };
  });

  if (error && !found) return html`<div class="page compare"><${Notice} error=${error} onRetry=${retry} /></div>`;
  if (!found) return html`<div class="page compare"><${Waiting} /></div>`;
  const runs = named(found.runs.filter(({ id }) => ids.includes(id))); // those of the answer before, too, for a moment
  const shown = runs.filter(({ id }) => !hidden.has(id));
  const about = { runs: shown, all: runs, found, curves, evaluations, looks };
  const toggle = (id) => setHidden((old) => new Set(old.has(id) ? [...old].filter((one) => one !== id) : [...old, id]));
  const missing = ids.filter((id) => !runs.some((run) => run.id === id));
  return html`<div class="page compare">
    <div class="page-head"><h1>${t("compare.title")}</h1>
      <${Button} onClick=${() => setPicking(true)}>${t(ids.length ? "compare.change" : "compare.choose")}<//>
      ${error && html`<span class="warn" role="status">${error.message}</span>`}
    </div>
    ${picking && html`<${Picker} chosen=${ids} onClose=${() => setPicking(false)} onChoose=${(next) => { setPicking(false); show(next); }} />`}
    ${missing.length > 0 && html`<${Notice} kind="warning"><p>${t("compare.missing", { names: missing.join(", ") })}</p><//>`}
    ${!runs.length ? html`<div class="card compare-empty"><p>${t("compare.empty")}</p><${Button} kind="primary" onClick=${() => setPicking(true)}>${t("compare.choose")}<//></div>` : html`
      <${Chips} runs=${runs} looks=${looks} hidden=${hidden} toggle=${toggle} remove=${(id) => show(ids.filter((one) => one !== id))} />
      ${runs.length > MOST_CURVES && html`<p class="muted small">${t("compare.most", { n: MOST_CURVES })}</p>`}
      <${Curves} ...${about} />
      <div class="compare-columns"><${Differences} ...${about} /><${Figures} ...${about} /></div>
      <${PairTest} ...${about} />
      <${Search} ...${about} />`}
  </div>`;
}

/** Runs with names that are told apart: the whole id where two share a name. */
function named(runs) {
  const counts = new Map();
  for (const { name } of runs) counts.set(name, (counts.get(name) ?? 0) + 1);
  return runs.map((run) => ({ ...run, label: counts.get(run.name) > 1 ? run.id : run.name }));
}

function Chips({ runs, looks, hidden, toggle, remove }) {
  return html`<ul class="compare-runs" aria-label=${t("compare.runs")}>${runs.map((run) => html`<li key=${run.id} class=${`compare-run${hidden.has(run.id) ? " is-hidden" : ""}`}>
    <button type="button" class="compare-toggle" aria-pressed=${!hidden.has(run.id)} aria-label=${t(hidden.has(run.id) ? "compare.show" : "compare.hide", { name: run.label })}
      title=${t(hidden.has(run.id) ? "compare.show" : "compare.hide", { name: run.label })} onClick=${() => toggle(run.id)}><${Swatch} look=${looks[run.id]} /></button>
    <a href=${runHash(run.id)} class="cut" title=${run.label}>${run.label}</a>
    ${run.state !== "finished" && html`<${StateBadge} state=${run.state} />`}
    ${run.metric && html`<span class="muted small" title=${run.metric}>${measure(run.value)}</span>`}
    <button type="button" class="compare-remove" aria-label=${t("compare.remove", { name: run.label })} title=${t("compare.remove", { name: run.label })} onClick=${() => remove(run.id)}>×</button>
  </li>`)}</ul>`;
}
