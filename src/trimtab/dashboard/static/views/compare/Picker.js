// Which runs to compare: every run of the folder, searched and ticked.
import { html, useEffect, useMemo, useState } from "../../lib/ui.js";
import { get } from "../../lib/api.js";
import { t } from "../../lib/i18n.js";
import { interval, when } from "../../lib/format.js";
import { Button } from "../../components/Button.js";
import { StateBadge } from "../../components/Badge.js";
import { Dialog } from "../../components/Dialog.js";
import { Notice, Waiting } from "../../components/Notice.js";

/** @param {{chosen: string[], onChoose: (ids: string[]) => void, onClose: () => void}} props */
export function Picker({ chosen, onChoose, onClose }) {
  const [runs, setRuns] = useState(null);
  const [error, setError] = useState(null);
  const [search, setSearch] = useState("");
  const [ticked, setTicked] = useState(() => new Set(chosen));
  useEffect(() => {
    get("/api/runs").then((answer) => setRuns(answer.runs), setError);
  }, []);
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const listed = useMemo(() => {
    const fits = (run) => {
      const all = [run.name, run.id, run.model, run.data, run.strategy, run.state, ...(run.tags ?? [])].join(" ").toLowerCase();
      return words.every((word) => all.includes(word));
    };
    return (runs ?? []).filter((run) => (!run.archived || ticked.has(run.id)) && fits(run)).sort((a, b) => (b.started ?? 0) - (a.started ?? 0));
  }, [runs, search]);
  const tick = (id) => setTicked((old) => new Set(old.has(id) ? [...old].filter((one) => one !== id) : [...old, id]));
  const allTicked = listed.length > 0 && listed.every(({ id }) => ticked.has(id));
  const tickAll = () => setTicked((old) => {
    const mine = listed.map(({ id }) => id);
    return new Set(allTicked ? [...old].filter((id) => !mine.includes(id)) : [...old, ...mine]);
  });
  // Those chosen before keep their order, so that colours and columns stay in place.
  const order = [...chosen.filter((id) => ticked.has(id)), ...[...ticked].filter((id) => !chosen.includes(id))];
  const actions = html`<span class="muted picker-count" role="status">${t("compare.picked", { n: ticked.size })}</span>
    <${Button} onClick=${onClose}>${t("cancel")}<//><${Button} kind="primary" disabled=${ticked.size < 1} onClick=${() => onChoose(order)}>${t("compare.go")}<//>`;
  return html`<${Dialog} title=${t("compare.choose")} wide=${true} onClose=${onClose} actions=${actions}>
    <div class="picker-tools"><input type="search" data-autofocus value=${search} placeholder=${t("compare.search")} aria-label=${t("compare.search")} onInput=${(event) => setSearch(event.currentTarget.value)} />
      <${Button} disabled=${!listed.length} onClick=${tickAll}>${t(allTicked ? "compare.none" : "compare.all", { n: listed.length })}<//></div>
    ${error && html`<${Notice} error=${error} />`}
    ${!runs && !error && html`<${Waiting} />`}
    ${runs && !listed.length && html`<p class="empty-line">${t("compare.nothing")}</p>`}
    <ul class="picker">${listed.map((run) => html`<li key=${run.id}><label>
      <input type="checkbox" checked=${ticked.has(run.id)} onChange=${() => tick(run.id)} />
      <span class="picker-name">${run.name}</span><${StateBadge} state=${run.state} />
      <span class="muted small picker-about">${[run.model, run.strategy, when(run.started)].filter(Boolean).join(" · ")}</span>
      <span class="picker-value small">${run.metric ? `${run.metric} ${interval(run.value, run.low, run.high)}` : ""}</span>
    </label></li>`)}</ul>
  <//>`;
}
