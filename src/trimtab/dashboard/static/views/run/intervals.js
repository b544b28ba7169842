// The metric beside its baselines, each with its interval: whether they overlap is seen at a glance.
import { html } from "../../lib/ui.js";
import { measure, percent } from "../../lib/format.js";
import { t } from "../../lib/i18n.js";

/** @param {{evaluation: object | undefined}} props the content of evaluation.json */
export function Intervals({ evaluation }) {
  const metric = evaluation?.primary_metric;
  const own = evaluation?.metrics?.[metric];
  if (!own) return null;
  const rows = [
    { name: t("intervals.this"), own: true, ...own },
    ...Object.entries(evaluation.baselines ?? {}).filter(([, metrics]) => metrics[metric]).map(([name, metrics]) => ({ name, ...metrics[metric] })),
  ];
  const others = Object.entries(evaluation.metrics).filter(([name]) => name !== metric);
  const [low, high] = rangeOf(rows, evaluation.target);
  const at = (value) => `${(100 * (value - low)) / (high - low)}%`;
  return html`<section class="card"><h2>${t("intervals.title", { metric, n: evaluation.rows, split: t(`split.${evaluation.split ?? "test"}`) })}</h2>
    <ul class="intervals">${rows.map((row) => html`<li key=${row.name} class=${row.own ? "interval-own" : ""}>
      <span class="interval-name">${row.name}</span><span class="interval-value">${measure(row.value)}</span>
      <span class="interval-line" aria-hidden="true"><span class="interval-range" style=${{ left: at(row.low ?? row.value), right: `calc(100% - ${at(row.high ?? row.value)})` }}></span>
        <span class="interval-point" style=${{ left: at(row.value) }}></span></span>
      <span class="visually-hidden">${t("intervals.said", { low: measure(row.low), high: measure(row.high) })}</span></li>`)}</ul>
    <p class="intervals-axis muted small" aria-hidden="true"><span>${measure(low, 2)}</span><span>${t("intervals.share", { share: percent(evaluation.confidence ?? 0.95, 0) })}</span><span>${measure(high, 2)}</span></p>
    ${others.length > 0 && html`<details><summary>${t("intervals.others", { n: others.length })}</summary>
      <table class="table"><tbody>${others.map(([name, one]) => html`<tr key=${name}><th scope="row">${name}</th><td class="numeric">${measure(one.value)}</td><td class="numeric muted">[${measure(one.low)}, ${measure(one.high)}]</td></tr>`)}</tbody></table></details>`}
  </section>`;
}

/** From 0 to 1 where the values lie there; else their own range with some air. */
function rangeOf(rows) {
  const values = rows.flatMap((row) => [row.low, row.value, row.high]).filter(Number.isFinite);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (low >= 0 && high <= 1) return [Math.max(0, Math.floor(low * 10 - 0.5) / 10), Math.min(1, Math.ceil(high * 10 + 0.2) / 10)];
  const air = (high - low || Math.abs(high) || 1) * 0.1;
  return [low - air, high + air];
}
