// What the check found in the data: columns, rows, labels, and what speaks against training.
import { html, useState } from "../../lib/ui.js";
import { known, t } from "../../lib/i18n.js";
import { number, percent } from "../../lib/format.js";
import { Words } from "../../components/Notice.js";
import { SeverityBadge } from "../../components/Badge.js";

const LABELS = 12;
const ORDER = ["refuse", "warning", "info"];

/** @param {{report: any}} props a data report as `trimtab check --json` prints it */
export function Report({ report }) {
  const findings = [...report.findings].sort((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity));
  return html`<div class="start-report">
    <dl class="start-facts">
      <div><dt>${t("start.report.task")}</dt><dd>${report.task}</dd></div>
      ${Object.entries(report.columns).map(([role, names]) => html`<div key=${role}><dt>${t("start.report.column", { role: word("start.role", role) })}</dt><dd><code>${names.join(", ")}</code></dd></div>`)}
      ${Object.entries(report.rows).map(([split, rows]) => html`<div key=${split}><dt>${t("start.report.rows", { split: word("start.split", split) })}</dt>
        <dd>${number(rows)}${report.held_out.includes(split) ? html` <span class="muted small">${t("start.report.held_out")}</span>` : ""}</dd></div>`)}
      ${report.tokens && html`<div><dt>${t("start.report.tokens")}</dt><dd>${t("start.report.tokens.value", tokenWords(report.tokens))}</dd></div>`}
      ${report.imbalance > 1.5 && html`<div><dt>${t("start.report.imbalance")}</dt><dd>${number(report.imbalance, 3)} : 1</dd></div>`}
    </dl>
    <${Labels} report=${report} />
    <h4>${t("start.report.findings")}</h4>
    ${findings.length ? html`<ul class="start-findings">${findings.map((finding, i) => html`<${Found} key=${i} finding=${finding} />`)}</ul>`
      : html`<p class="good">✓ ${t("start.report.clean")}</p>`}
    ${report.notes.length > 0 && html`<details class="start-fold"><summary>${t("start.report.notes", { n: report.notes.length })}</summary>
      <ul class="start-notes">${report.notes.map((note) => html`<li key=${note}><${Words} text=${note} /></li>`)}</ul></details>`}
  </div>`;
}

function word(kind, name) {
  return known(`${kind}.${name}`) ? t(`${kind}.${name}`) : name;
}

function tokenWords({ median, p95, maximum, max_length: limit, share_longer: longer }) {
  const cut = limit && longer > 0 ? t("start.report.tokens.cut", { share: percent(longer), limit }) : "";
  return { median: number(median), p95: number(p95), maximum: number(maximum), cut };
}

/** A bar a label, for the training rows; the other splits as numbers beside it. */
function Labels({ report }) {
  const [all, setAll] = useState(false);
  const splits = Object.keys(report.labels);
  const main = splits.includes("train") ? "train" : splits[0];
  const counts = Object.entries(report.labels[main] ?? {}).sort(([, a], [, b]) => b - a);
  const most = Math.max(1, ...counts.map(([, count]) => count));
  const total = counts.reduce((sum, [, count]) => sum + count, 0) || 1;
  const shown = all ? counts : counts.slice(0, LABELS);
  return html`<h4>${t("start.report.labels", { n: counts.length })}</h4>
    <div class="table-scroll" tabindex="0" role="region" aria-label=${t("start.report.labels", { n: counts.length })}><table class="start-labels">
      <thead><tr><th scope="col">${t("start.report.label")}</th><th scope="col" colspan="2">${word("start.split", main)}</th>${splits.filter((split) => split !== main).map((split) => html`<th scope="col" class="numeric" key=${split}>${word("start.split", split)}</th>`)}</tr></thead>
      <tbody>${shown.map(([name, count]) => html`<tr key=${name}>
        <th scope="row">${name}</th>
        <td class="start-bar-cell"><div class="start-bar" style=${{ width: `${(100 * count) / most}%` }}></div></td>
        <td class="numeric">${number(count)} <span class="muted small">${percent(count / total)}</span></td>
        ${splits.filter((split) => split !== main).map((split) => html`<td class="numeric" key=${split}>${number(report.labels[split][name] ?? 0)}</td>`)}
      </tr>`)}</tbody>
    </table></div>
    ${counts.length > LABELS && html`<button type="button" class="button button-quiet" onClick=${() => setAll(!all)}>${t(all ? "start.report.labels.fewer" : "start.report.labels.all", { n: counts.length })}</button>`}`;
}

/** A finding of the data: what, how many, what to do, and examples. */
function Found({ finding }) {
  const examples = finding.evidence?.examples ?? [];
  const refuses = finding.severity === "refuse";
  return html`<li class=${`start-finding is-${finding.severity}`}>
    ${refuses ? html`<span class="severity severity-act"><span class="severity-sign" aria-hidden="true"></span>${t("start.report.refuse")}</span>` : html`<${SeverityBadge} severity=${finding.severity} />`}
    <div><p><${Words} text=${finding.message} said=${finding.said?.message} /></p>
      ${finding.remedy && html`<p class="muted"><strong>${t("remedy")}:</strong> <${Words} text=${finding.remedy} said=${finding.said?.remedy} /></p>`}
      ${examples.length > 0 && html`<details class="start-fold"><summary>${t("start.report.examples", { n: examples.length })}</summary>
        <ul class="start-notes">${examples.map((example, i) => html`<li key=${i}>${told(example)}</li>`)}</ul></details>`}
    </div></li>`;
}

function told(example) {
  if (typeof example !== "object" || example === null) return String(example);
  return Object.entries(example).filter(([, value]) => value !== null && typeof value !== "object").map(([key, value]) => `${key}: ${value}`).join(" · ");
}
