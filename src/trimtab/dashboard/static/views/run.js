// One run: what it is, how it goes, and what can be done about it. It is kept up by the run's stream.
import { html, useEffect, useMemo } from "../lib/ui.js";
import { register, t } from "../lib/i18n.js";
import { go, runHash } from "../lib/router.js";
import { Button } from "../components/Button.js";
import { Notice, Waiting } from "../components/Notice.js";
import { Tabs } from "../components/Tabs.js";
import { needCss } from "../charts/css.js";
import { forget } from "../charts/group.js";
import * as text from "../text/run.js";
import * as content from "../text/run_content.js";
import * as curves from "../text/run_curves.js";
import * as fields from "../text/run_fields.js";
import { Curves } from "./run/curves.js";
import { Environment } from "./run/environment.js";
import { Findings } from "./run/findings.js";
import { Header } from "./run/header.js";
import { Log } from "./run/log.js";
import { Overview } from "./run/overview.js";
import { Recipe } from "./run/recipe.js";
import { Rows } from "./run/rows.js";
import { LIVE, useRun } from "./run/store.js";
import { TryModel } from "./try.js";

for (const words of [text, curves, content, fields]) register(words);
await needCss("css/run.css");

const TABS = {
  overview: Overview, curves: Curves, findings: Findings, rows: Rows,
  try: ({ run }) => html`<${TryModel} id=${run.id} summary=${run.summary} />`,
  recipe: Recipe, environment: Environment, log: Log,
};

/** @param {{route: import("../lib/router.js").Route}} props */
export default function Run({ route }) {
  const id = route.id ?? "";
  const { state, dispatch, reload } = useRun(id);
  const { detail, summary, tables, error, gone } = state;
  // A model can be tried once there is one.
  const names = Object.keys(TABS).filter((name) => name !== "try" || detail?.has?.model);
  const tab = names.includes(route.tab) ? route.tab : "overview";
  useEffect(() => () => forget(`run ${id}`), [id]);
  useTitle(summary);

  const shared = useMemo(() => ({ id, sync: `run ${id}`, open: (name) => go(runHash(id, name)) }), [id]);
  if (gone && !detail) return html`<div class="page run"><${Gone} never=${true} /></div>`;
  if (error && !detail) return html`<div class="page run"><${Notice} error=${error} onRetry=${reload} /></div>`;
  if (!detail || !tables) return html`<div class="page run"><${Waiting} /></div>`;

  const Shown = TABS[tab];
  const grave = detail.findings.filter(({ severity }) => severity !== "info").length;
  const tabs = names.map((name) => ({ id: name, label: t(`run.tab.${name}`), count: name === "findings" ? grave : undefined }));
  const run = { ...shared, detail, summary, tables, dispatch, live: LIVE.includes(summary.state) && !gone, route, gone };
  return html`<div class="page run">
    ${gone && html`<${Gone} />`}
    <${Header} run=${run} requests=${state.requests} />
    <${Tabs} tabs=${tabs} active=${tab} label=${t("run.tabs")} onSelect=${shared.open}><${Shown} run=${run} /><//>
  </div>`;
}

function Gone({ never }) {
  return html`<${Notice} kind="warning" title=${t(never ? "run.missing" : "run.gone")}>
    <p>${t(never ? "run.missing.text" : "run.gone.text")}</p>
    <p><${Button} href="#/">${t("run.back")}<//></p>
  <//>`;
}

/** The tab of the browser tells how far the run is, for those who look elsewhere meanwhile. */
function useTitle(summary) {
  const going = summary && LIVE.includes(summary.state) && summary.total_steps > 0;
  const head = !summary ? "" : going ? `${Math.floor((100 * (summary.step ?? 0)) / summary.total_steps)} % · ` : `${t(`state.${summary.state}`)} · `;
  useEffect(() => {
    if (summary) document.title = `${head}${summary.name} – Trimtab`;
    return () => { document.title = "Trimtab"; };
  }, [head, summary?.name]);
}
