// Starting a run: data that are checked first, settings from the recipe's schema, and a look at what will be sent.
import { html, useEffect, useMemo, useRef, useState } from "../lib/ui.js";
import { get } from "../lib/api.js";
import { useInfo } from "../lib/info.js";
import { register, t, useLanguage } from "../lib/i18n.js";
import { Notice, Waiting, Words } from "../components/Notice.js";
import { SeverityBadge } from "../components/Badge.js";
import { needCss } from "../charts/css.js";
import * as text from "../text/start.js";
import * as fields from "../text/start_fields.js";
import { DataStep } from "./start/DataStep.js";
import { Launch } from "./start/Launch.js";
import { Settings } from "./start/Settings.js";
import { useForm } from "./start/form.js";
import { sections } from "./start/schema.js";
import { useOrigin } from "./start/origin.js";
import { useWork } from "./start/work.js";

register(text);
register(fields);
await needCss("css/start.css");

/** @param {{route: import("../lib/router.js").Route}} props */
export default function Start({ route }) {
  useLanguage();
  const info = useInfo();
  const { schema, error, retry } = useSchema();
  const origin = useOrigin(route.query.from ?? "", route.query.finding ?? "");
  const all = useMemo(() => (schema ? sections(schema) : null), [schema]);
  const form = useForm(all, origin);
  const work = useWork(form, origin.key);
  const choices = useKnownNames();
  const top = useRef(null);
  useEffect(() => {
    if (work.error) top.current?.scrollIntoView({ block: "start", behavior: "smooth" });
  }, [work.error]);

  if (error) return html`<div class="page start"><${Notice} error=${error} onRetry=${retry} /></div>`;
  if (origin.error) return html`<div class="page start"><${Notice} error=${origin.error} onRetry=${origin.retry}>
    <p><a href="#/start">${t("start.empty")}</a></p><//></div>`;
  if (!form) return html`<div class="page start"><${Waiting} /></div>`;
  const marks = origin.changed ? Object.fromEntries(origin.changed.map((key) => [key, t("start.mark.finding")])) : {};
  return html`<div class="page start" ref=${top}>
    <div class="page-head"><h1>${t("start.title")}</h1>
      ${origin.run && html`<p class="muted">${t("start.from")} <a href=${`#/run/${encodeURIComponent(origin.run)}`}>${origin.name}</a></p>`}
      ${(form.changed.length > 0 || form.data || origin.run) && html`<button type="button" class="button button-quiet" onClick=${form.startOver}>${t("start.over")}</button>`}
    </div>
    ${!info.can_start && info.version && html`<${Notice} kind="warning" title=${t("start.forbidden")}><p>${t("start.forbidden.text")}</p><//>`}
    ${origin.finding && html`<${FromFinding} origin=${origin} />`}
    <${Faults} work=${work} form=${form} />
    <${Step} n="1" title=${t("start.step.data")} done=${work.isChecked}>
      <${DataStep} form=${form} work=${work} choices=${choices} marks=${marks} />
    <//>
    <${Step} n="2" title=${t("start.step.settings")} done=${false}>
      <${Settings} form=${form} told=${work.told.byKey} marks=${marks} skip=${["data"]} choices=${choices} />
    <//>
    <${Step} n="3" title=${t("start.step.start")} done=${false}>
      <${Launch} form=${form} work=${work} origin=${origin} marks=${marks} canStart=${info.can_start} />
    <//>
  </div>`;
}

function Step({ n, title, done, children }) {
  return html`<section class="card start-step" aria-labelledby=${`start-step-${n}`}>
    <h2 id=${`start-step-${n}`}><span class=${`start-number${done ? " is-done" : ""}`} aria-hidden="true">${done ? "✓" : n}</span> ${title}</h2>
    ${children}
  </section>`;
}

/** Which finding this run answers to, and what it changes. */
function FromFinding({ origin }) {
  const { finding } = origin;
  return html`<div class="card start-from">
    <h2>${t("start.finding")} <${SeverityBadge} severity=${finding.severity} /></h2>
    <p><${Words} text=${finding.message} said=${finding.said?.message} /></p>
    <p class="muted"><${Words} text=${finding.remedy} said=${finding.said?.remedy} /></p>
  </div>`;
}

/** What was refused, at the top: each fault that a field has leads to it. */
function Faults({ work, form }) {
  if (!work.error) return null;
  const { byKey, rest } = work.told;
  const jump = (key) => (event) => {
    event.preventDefault();
    const field = document.getElementById(`field-${key}`);
    field?.closest("details")?.setAttribute("open", "");
    field?.scrollIntoView({ block: "center" });
    field?.focus();
  };
  const known = Object.entries(byKey).filter(([key]) => form.fields.some((field) => field.key === key));
  return html`<div class="start-faults"><${Notice} kind="error" title=${t(work.failed === "start" ? "start.failed" : "start.check.failed")} onClose=${work.dismiss}>
    ${rest.map((line) => html`<p key=${line}>${line}</p>`)}
    ${known.length > 0 && html`<ul>${known.map(([key, lines]) => html`<li key=${key}><a href="#" onClick=${jump(key)}><code>${key}</code></a>: ${lines.join(" ")}</li>`)}</ul>`}
    ${work.error.remedy && html`<p class="notice-remedy"><span>${t("remedy")}:</span> <${Words} text=${work.error.remedy} /></p>`}
    ${work.error.log && html`<details class="start-fold"><summary>${t("start.log")}</summary><pre tabindex="0">${work.error.log}</pre></details>`}
  <//></div>`;
}

function useSchema() {
  const [state, setState] = useState({ schema: null, error: null });
  const [round, setRound] = useState(0);
  useEffect(() => {
    setState({ schema: null, error: null });
    get("/api/schema").then((schema) => setState({ schema, error: null }), (error) => setState({ schema: null, error }));
  }, [round]);
  return { ...state, retry: () => setRound(round + 1) };
}

/** Data and models of earlier runs, offered while typing; without an answer nothing is offered. */
function useKnownNames() {
  const [names, setNames] = useState({});
  useEffect(() => {
    get("/api/runs").then(({ runs }) => {
      const of = (key) => [...new Set(runs.map(({ values }) => values?.[key]).filter((value) => typeof value === "string"))].slice(0, 30);
      setNames({ "data.path": of("data.path"), "model.name": ["starter", ...of("model.name").filter((name) => name !== "starter")] });
    }, () => {});
  }, []);
  return names;
}
