// The doctor's findings, worst first, each with its evidence, its source, its remedy, and what it would change.
import { html, useEffect, useMemo, useRef, useState } from "../../lib/ui.js";
import { number, percent } from "../../lib/format.js";
import { useInfo } from "../../lib/info.js";
import { t } from "../../lib/i18n.js";
import { phrase, phrases } from "../../lib/said.js";
import { withQuery } from "../../lib/router.js";
import { Button } from "../../components/Button.js";
import { SeverityBadge } from "../../components/Badge.js";
import { Dialog } from "../../components/Dialog.js";
import { Words } from "../../components/Notice.js";
import { Chart } from "../../charts/chart.js";
import { ask } from "./controls.js";
import { Diff } from "./diff.js";
import { Evidence, nameOf } from "./evidence.js";
import { worstFirst } from "./finding_order.js";
import { findingName } from "./marks.js";

/** @param {{run: object}} props */
export function Findings({ run }) {
  const { detail } = run;
  const all = useMemo(() => worstFirst(detail.findings), [detail.findings]);
  const wanted = run.route.query.finding;
  const serious = all.filter(({ severity }) => severity !== "info").length;
  return html`<section class="findings" aria-label=${t("run.tab.findings")}>
    ${!serious && html`<div class="card sound"><h2>${t(run.live ? "findings.calm_live" : "findings.calm")}</h2><p>${t(all.length ? "findings.calm.notes" : "findings.calm.text")}</p></div>`}
    ${all.map((finding, i) => html`<${Finding} key=${finding.index ?? finding.name} run=${run} finding=${finding}
      asked=${String(finding.index) === wanted} first=${i === 0 && wanted === undefined && finding.severity !== "info"} />`)}
    <${DataFindings} findings=${detail.data_findings ?? []} />
    <${Examined} detail=${detail} found=${all} live=${run.live} />
  </section>`;
}

function Finding({ run, finding, asked, first }) {
  const [open, setOpen] = useState(asked || first);
  const box = useRef(null);
  useEffect(() => {
    if (!asked) return;
    setOpen(true);
    box.current?.scrollIntoView({ block: "start" });
    box.current?.querySelector("button")?.focus({ preventScroll: true });
  }, [asked]);
  const body = `finding-${finding.index ?? finding.name}`;
  return html`<article class=${`card finding finding-${finding.severity}`} ref=${box}>
    <h2><button type="button" class="finding-head" aria-expanded=${open} aria-controls=${body} onClick=${() => setOpen(!open)}>
      <span class="finding-turn" aria-hidden="true">${open ? "▾" : "▸"}</span>
      <${SeverityBadge} severity=${finding.severity} /><span class="finding-name">${findingName(finding.name)}</span>
      <span class="finding-since muted">${Number.isFinite(finding.since) ? t("finding.since", { step: number(finding.since, 9) }) : ""}</span></button></h2>
    <p class="finding-message"><${Words} text=${finding.message} said=${finding.said?.message} /></p>
    <div id=${body} hidden=${!open}>${open && html`<${Body} run=${run} finding=${finding} />`}</div>
  </article>`;
}

function Body({ run, finding }) {
  const changes = Object.keys(finding.change ?? {}).length > 0;
  const plain = !finding.series?.length && !finding.rows?.length && !Object.keys(finding.evidence ?? {}).length;
  return html`<div class=${`finding-body ${plain ? "is-plain" : ""}`}>
    <div class="finding-evidence" hidden=${plain}>
      <${Curves} finding=${finding} />
      <${Evidence} evidence=${finding.evidence} />
      <${FindingRows} rows=${finding.rows ?? []} />
    </div>
    <div class="finding-side">
      ${finding.remedy && html`<h3>${t("remedy")}</h3><p><${Words} text=${finding.remedy} said=${finding.said?.remedy} /></p>`}
      ${changes && html`<h3>${t("finding.change")}</h3><${Diff} recipe=${run.detail.recipe} change=${finding.change} />`}
      <${Apply} run=${run} finding=${finding} changes=${changes} />
      <dl class="pairs small">
        ${Number.isFinite(finding.confidence) && html`<dt>${t("finding.confidence")}</dt><dd>${percent(finding.confidence, finding.confidence > 0.99 && finding.confidence < 0.9995 ? 1 : 0)}</dd>`}
        ${finding.source && html`<dt>${t("finding.source")}</dt><dd>${finding.source}</dd>`}
      </dl>
    </div>
  </div>`;
}

function Apply({ run, finding, changes }) {
  const [sure, setSure] = useState(false);
  const { can_start: canStart } = useInfo();
  if (!changes || run.summary.foreign || run.gone) return null;
  const now = ["running", "evaluating", "paused"].includes(run.summary.state);
  const apply = () => {
    setSure(false);
    ask(run, "remedy", { finding: finding.index, how: "now" }, "/remedy");
  };
  return html`<p class="buttons">
    ${now && html`<${Button} kind="primary" onClick=${() => setSure(true)}>${t("finding.now")}<//>`}
    ${canStart && html`<${Button} kind=${now ? "plain" : "primary"} href=${withQuery("#/start", { from: run.id, finding: finding.index })}>${t("finding.new")}<//>`}
    ${sure && html`<${Dialog} title=${t("finding.now.title")} onClose=${() => setSure(false)} actions=${html`
        <${Button} onClick=${() => setSure(false)}>${t("cancel")}<//><${Button} kind="primary" onClick=${apply} data-autofocus>${t("finding.now")}<//>`}>
      <p>${t("finding.now.text")}</p><${Diff} recipe=${run.detail.recipe} change=${finding.change} /><//>`}
  </p>`;
}

/** The curves that the finding was read from: by step in one chart, by anything else in one of their own. */
function Curves({ finding }) {
  const series = (finding.series ?? []).filter((one) => one.x?.length && one.y?.some(Number.isFinite));
  if (!series.length) return null;
  // Where one series is far smaller than another, both would not show on one axis.
  const heights = series.map(({ y }) => Math.max(...y.filter(Number.isFinite).map(Math.abs)));
  const isSmall = (one) => heights[series.indexOf(one)] < Math.max(...heights) / 50;
  const tables = Object.fromEntries(series.map((one, i) => [String(i), { step: one.x, series: { y: one.y } }]));
  const lines = series.map((one, i) => ({ table: String(i), name: "y", label: phrase(one.name) || String(i + 1), color: colorOf(one.name, i), smooth: false, side: isSmall(one) ? "right" : "left" }));
  const steps = (finding.x_label ?? "step") === "step";
  const marks = steps && Number.isFinite(finding.since) ? [{ step: finding.since, severity: finding.severity, label: t("finding.since", { step: finding.since }) }] : [];
  return html`<${Chart} tables=${tables} lines=${lines} marks=${marks} buttons=${false} height=${180} title=${t("finding.curves", { name: findingName(finding.name) })}
    note=${steps ? undefined : t("finding.x", { name: phrase(finding.x_label) })} />`;
}

/** Training and validation have the colours that they have in every other chart. */
function colorOf(name, i) {
  const known = /valid|held.?out/i.test(name) ? 2 : /train|held.?in/i.test(name) ? 1 : null;
  return `--series-${known ?? ((i + 2) % 8) + 1}`;
}

function FindingRows({ rows }) {
  const shown = rows.slice(0, 10);
  if (!shown.length) return null;
  const keys = [...new Set(shown.flatMap((row) => (row && typeof row === "object" ? Object.keys(row) : ["row"])))].slice(0, 8);
  const cell = (row, key) => {
    const value = row && typeof row === "object" ? row[key] : row;
    return typeof value === "number" ? number(value) : String(value ?? "–");
  };
  return html`<h3>${t("finding.rows")}</h3><div class="table-scroll" tabindex="0" role="region" aria-label=${t("finding.rows")}><table class="table">
    <thead><tr>${keys.map((key) => html`<th key=${key} scope="col">${nameOf(key)}</th>`)}</tr></thead>
    <tbody>${shown.map((row, i) => html`<tr key=${i}>${keys.map((key) => html`<td key=${key} class=${typeof row?.[key] === "number" ? "numeric" : ""}>${cell(row, key)}</td>`)}</tr>`)}</tbody></table></div>`;
}

function DataFindings({ findings }) {
  if (!findings.length) return null;
  return html`<h2 class="section-head">${t("findings.data")}</h2>${worstFirst(findings).map((finding, i) => html`
    <article key=${`${finding.name}${i}`} class=${`card finding finding-${finding.severity}`}>
      <h3 class="finding-data"><${SeverityBadge} severity=${finding.severity === "refuse" ? "act" : finding.severity} /> ${findingName(finding.name)}</h3>
      <p class="finding-message"><${Words} text=${finding.message} said=${finding.said?.message} /></p>
      ${finding.remedy && html`<p class="small"><strong>${t("remedy")}:</strong> <${Words} text=${finding.remedy} said=${finding.said?.remedy} /></p>`}
      ${Object.keys(finding.evidence ?? {}).length > 0 && html`<details><summary>${t("finding.evidence")}</summary><${Evidence} evidence=${finding.evidence} bare=${true} /></details>`}
    </article>`)}`;
}

/** What was looked for and not found: a clean bill names what it is about. */
function Examined({ detail, found, live }) {
  const names = new Set(found.map(({ name }) => name));
  const sound = (detail.examined ?? []).filter((name) => !names.has(name));
  const left = Object.entries(detail.not_examined ?? {});
  if (!sound.length && !left.length) return null;
  return html`<div class="card examined">
    ${sound.length > 0 && html`<h2>${t(live ? "findings.examined_live" : "findings.examined", { n: sound.length })}</h2>
      <ul class="examined-list">${sound.map((name) => html`<li key=${name}><span class="good" aria-hidden="true">✓</span> ${findingName(name)}</li>`)}</ul>`}
    ${left.length > 0 && html`<h2>${t("findings.not_examined")}</h2>
      <dl class="pairs small">${left.map(([name, reason]) => html`<dt key=${name}>${findingName(name)}</dt><dd><${Words} text=${typeof reason === "string" ? phrases(reason) : JSON.stringify(reason)} /></dd>`)}</dl>`}
  </div>`;
}
