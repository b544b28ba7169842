// What a run comes to, on one page: how it went, what was found, against what it was measured, and where its time went.
import { html, useMemo } from "../../lib/ui.js";
import { compact, duration, measure, number, percent } from "../../lib/format.js";
import { known, t } from "../../lib/i18n.js";
import { runHash } from "../../lib/router.js";
import { sentence } from "../../lib/said.js";
import { SeverityBadge } from "../../components/Badge.js";
import { Words } from "../../components/Notice.js";
import { Table } from "../../components/Table.js";
import { Chart } from "../../charts/chart.js";
import { domainOf } from "../../charts/data.js";
import { Intervals } from "./intervals.js";
import { findingName, useMarks } from "./marks.js";
import { worstFirst } from "./finding_order.js";
import { lossSpec, metricSpec } from "./specs.js";

/** @param {{run: object}} props */
export function Overview({ run }) {
  const { marks, bands, dialog } = useMarks(run);
  const domain = useMemo(() => domainOf(run.tables, "step"), [run.tables]);
  const charts = useMemo(() => [lossSpec(run.tables), metricSpec(run.tables, run.summary.metric)].filter(Boolean), [run.tables, run.summary.metric]);
  return html`<section class="overview" aria-label=${t("run.tab.overview")}>
    <div class="overview-main">
      ${charts.map((spec) => html`<${Chart} key=${spec.id} tables=${run.tables} x="step" sync=${`${run.sync} overview`} domain=${domain} bands=${bands} marks=${marks}
        title=${spec.title} note=${spec.note} lines=${spec.lines} shade=${spec.shade} height=${spec.id === "loss" ? 250 : 180} />`)}
      ${!charts.length && html`<p class="empty">${t(run.live ? "curves.soon" : "curves.none")}</p>`}
      <${PerClass} evaluation=${run.detail.evaluation} />
    </div>
    <div class="overview-side">
      <${Found} run=${run} />
      <${Intervals} evaluation=${run.detail.evaluation} />
      <${Facts} run=${run} />
      <${Times} seconds=${run.detail.evaluation?.seconds} />
      <${Notes} run=${run} />
    </div>
    ${dialog}
  </section>`;
}

function Found({ run }) {
  const all = worstFirst(run.detail.findings);
  const grave = all.filter(({ severity }) => severity !== "info");
  const shown = (grave.length ? grave : all).slice(0, 4);
  return html`<section class="card"><h2>${t("overview.findings")}</h2>
    ${!all.length && html`<p>${t(run.live ? "findings.none_yet" : run.summary.foreign ? "findings.none" : "findings.sound")}</p>`}
    <ul class="found">${shown.map((finding) => html`<li key=${finding.index ?? finding.name}>
      <a href=${runHash(run.id, `findings?finding=${finding.index}`)}><${SeverityBadge} severity=${finding.severity} /> <strong>${findingName(finding.name)}</strong></a>
      <p><${Words} text=${finding.message} said=${finding.said?.message} /></p></li>`)}</ul>
    ${all.length > shown.length && html`<p><a href=${runHash(run.id, "findings")}>${t("overview.all_findings", { n: all.length })}</a></p>`}
  </section>`;
}

function Facts({ run }) {
  const { start = {}, evaluation = {}, retention } = run.detail;
  const rows = start.rows && typeof start.rows === "object" ? Object.entries(start.rows).map(([split, n]) => `${t(`split.${split}`)} ${number(n)}`).join(" · ") : null;
  const best = evaluation.best_step ?? run.summary.best_step;
  const pairs = [
    ["rows", rows], ["labels", start.labels?.length ? number(start.labels.length) : null],
    ["parameters", start.parameters ? t("fact.trained", { trained: compact(start.trained_parameters), all: compact(start.parameters), share: percent(start.trained_parameters / start.parameters, 0) }) : null],
    ["batch", start.batch_size], ["learning_rate", Number.isFinite(start.learning_rate) ? number(start.learning_rate, 3) : null],
    ["device", [start.device, start.precision].filter(Boolean).join(" · ") || null], ["best_step", best], ["retention", retention && sentence(retention.summary, retention.said?.summary)],
  ].filter(([, value]) => value !== null && value !== undefined && value !== "");
  if (!pairs.length) return null;
  return html`<section class="card"><h2>${t("overview.facts")}</h2>
    <dl class="pairs">${pairs.map(([key, value]) => html`<dt key=${key}>${t(`fact.${key}`)}</dt><dd>${value}</dd>`)}</dl></section>`;
}

/** Where the time went, as one bar. */
function Times({ seconds }) {
  const parts = Object.entries(seconds ?? {}).filter(([, value]) => value > 0);
  const total = parts.reduce((sum, [, value]) => sum + value, 0);
  if (!total) return null;
  const name = (key) => (known(`seconds.${key}`) ? t(`seconds.${key}`) : key.replaceAll("_", " "));
  return html`<section class="card"><h2>${t("overview.times", { total: duration(total) })}</h2>
    <div class="times" aria-hidden="true">${parts.map(([key, value], i) => html`<span key=${key} title=${`${name(key)}: ${duration(value)}`} style=${{ width: `${(100 * value) / total}%`, background: `var(--series-${(i % 8) + 1})` }}></span>`)}</div>
    <ul class="times-legend">${parts.map(([key, value], i) => html`<li key=${key}><span class="dot" style=${{ background: `var(--series-${(i % 8) + 1})` }}></span>${name(key)} <span class="muted">${duration(value)}</span></li>`)}</ul></section>`;
}

function Notes({ run }) {
  const notes = [...(run.detail.evaluation?.notes ?? []), ...(run.detail.start?.notes ?? [])];
  if (!notes.length) return null;
  return html`<section class="card"><h2>${t("overview.notes")}</h2><ul class="plain-list">${notes.map((note) => html`<li key=${note}><${Words} text=${note} /></li>`)}</ul></section>`;
}

function PerClass({ evaluation }) {
  const rows = evaluation?.per_class ?? [];
  if (!rows.length) return null;
  const bar = (value) => html`<span class="meter"><span>${measure(value)}</span><span class="meter-track" aria-hidden="true"><span style=${{ width: `${100 * value}%` }}></span></span></span>`;
  const columns = [
    { id: "label", label: t("rows.label"), cell: (row) => html`<strong>${row.label}</strong>` },
    { id: "rows", label: t("per_class.rows"), numeric: true },
    ...["precision", "recall", "f1"].map((id) => ({ id, label: t(`per_class.${id}`), cell: (row) => bar(row[id]) })),
  ];
  return html`<section class="card"><h2>${t("per_class.title", { split: t(`split.${evaluation.split ?? "test"}`) })}</h2>
    <${Table} columns=${columns} rows=${rows} rowKey=${(row) => row.label} caption=${t("per_class.title", { split: t(`split.${evaluation.split ?? "test"}`) })} /></section>`;
}
