// A set of many runs as a search: which keys go with the metric, and every run as a line through its values.
import { html, useMemo, useState } from "../../lib/ui.js";
import { t } from "../../lib/i18n.js";
import { measure, percent } from "../../lib/format.js";
import { FEWEST, importances } from "./importance.js";
import { Parallel } from "./Parallel.js";

const MOST_KEYS = 7;

/** @param {{runs: any[], found: any, looks: Record<string, any>}} props */
export function Search({ runs, found, looks }) {
  const metric = runs.find((run) => run.metric)?.metric;
  const judged = runs.filter((run) => run.metric === metric && Number.isFinite(run.value));
  const ranked = useMemo(() => importances(found.differs, Object.fromEntries(judged.map(({ id, value }) => [id, value]))), [found, judged.map(({ id, value }) => `${id} ${value}`).join("\n")]);
  const [keys, setKeys] = useState(null);
  const every = useMemo(() => ordered(found.differs, ranked), [found, ranked]);
  const chosen = (keys ?? every.slice(0, MOST_KEYS)).filter((key) => every.includes(key));
  if (judged.length < FEWEST) {
    return html`<section class="card"><h2>${t("compare.search.title")}</h2><p class="muted">${t("compare.search.few", { n: FEWEST })}</p></section>`;
  }
  const toggle = (key) => setKeys(chosen.includes(key) ? chosen.filter((one) => one !== key) : [...chosen, key]);
  return html`<section class="card" aria-label=${t("compare.importance")}><h2>${t("compare.importance")}</h2>
      <${Importance} ranked=${ranked} metric=${metric} />
    </section>
    <section class="card" aria-label=${t("compare.parallel")}><h2>${t("compare.parallel")}</h2>
      <details class="compare-series"><summary>${t("compare.axes", { n: chosen.length, all: every.length })}</summary>
        <div class="menu-box">${every.map((key) => html`<label class="menu-option" key=${key}><input type="checkbox" checked=${chosen.includes(key)} onChange=${() => toggle(key)} /> <code>${key}</code></label>`)}</div></details>
      <${Parallel} runs=${judged} keys=${chosen} found=${found} metric=${metric} looks=${looks} />
    </section>`;
}

/** Keys by importance, then the others; keys with a value of their own for each run (folders, names) at the end. */
function ordered(differs, ranked) {
  const rank = new Map(ranked.map(({ key }, i) => [key, i]));
  return differs.map(({ key }) => key).sort((a, b) => (rank.get(a) ?? 1e6) - (rank.get(b) ?? 1e6));
}

function Importance({ ranked, metric }) {
  if (!ranked.length) return html`<p class="muted">${t("compare.importance.none")}</p>`;
  return html`<p class="muted">${t("compare.importance.about", { metric })}</p>
    <div class="table-scroll" tabindex="0" role="region" aria-label=${t("compare.importance")}><table class="table compare-importance">
      <thead><tr><th scope="col">${t("compare.key")}</th><th scope="col" colspan="2">${t("compare.share")}</th><th scope="col">${t("compare.chance")}</th><th scope="col">${t("compare.means", { metric })}</th></tr></thead>
      <tbody>${ranked.map(({ key, share, p, groups }) => html`<tr key=${key}>
        <th scope="row"><code>${key}</code></th>
        <td class="compare-bar-cell"><div class=${`compare-bar${p > 0.05 ? " is-chance" : ""}`} style=${{ width: `${100 * share}%` }}></div></td>
        <td class="numeric">${percent(share, 0)}</td>
        <td>${p < 0.005 ? "p < 0.005" : `p = ${p.toFixed(2)}`}</td>
        <td class="small">${groups.map(({ name, n, mean }) => html`<span class="compare-level" key=${name}>${name}: <strong>${measure(mean)}</strong> <span class="muted">(${n})</span></span>`)}</td>
      </tr>`)}</tbody>
    </table></div>
    <details class="compare-how"><summary>${t("compare.how")}</summary><p>${t("compare.how.text")}</p></details>`;
}
