// The head of a run's page: state, progress, the metric with its interval, and what can be done.
import { html } from "../../lib/ui.js";
import { duration, measure, moment, number, percent, when } from "../../lib/format.js";
import { t } from "../../lib/i18n.js";
import { sentence } from "../../lib/said.js";
import { StateBadge, Tag } from "../../components/Badge.js";
import { Notice } from "../../components/Notice.js";
import { Controls } from "./controls.js";
import { Requests } from "./requests.js";

/** @param {{run: object, requests: object[]}} props */
export function Header({ run, requests }) {
  const { summary, detail } = run;
  return html`<header class="run-head">
    <nav class="run-path" aria-label=${t("run.path")}><a href="#/">${t("run.all")}</a> <span aria-hidden="true">/</span></nav>
    <div class="run-title">
      <h1 title=${run.id}>${summary.name}</h1>
      <${StateBadge} state=${summary.state} title=${summary.updated ? t("run.updated", { when: moment(summary.updated) }) : undefined} />
      ${summary.foreign && html`<${Tag}>${t("run.foreign", { by: summary.foreign })}<//>`}
      ${(summary.tags ?? []).map((tag) => html`<${Tag} key=${tag}>${tag}<//>`)}
      <div class="run-controls"><${Controls} run=${run} /></div>
    </div>
    <p class="run-facts">${facts(summary).map(([name, value]) => html`<span key=${name}><span class="muted">${t(`run.fact.${name}`)}</span> ${value}</span>`)}</p>
    ${summary.note && html`<p class="run-note">${summary.note}</p>`}
    ${summary.error && html`<${Notice} error=${summary.error} title=${t(`run.ended.${summary.state === "crashed" ? "crashed" : "failed"}`)} />`}
    <${Requests} run=${run} requests=${requests} />
    <div class="run-numbers">
      <${Metric} summary=${summary} detail=${detail} />
      <${Progress} summary=${summary} live=${run.live} />
    </div>
  </header>`;
}

function facts({ model, data, task, strategy, started }) {
  const short = (path) => (path ? String(path).split("/").filter(Boolean).at(-1) : null);
  return [
    ["model", model && html`<strong title=${model}>${short(model)}</strong>`],
    ["data", data && html`<strong title=${data}>${String(data).endsWith("/data") ? data : short(data)}</strong>`],
    ["task", task], ["strategy", strategy],
    ["started", started && html`<span title=${moment(started)}>${when(started)}</span>`],
  ].filter(([, value]) => value);
}

/** The metric: at the end with its interval and verdict, before that as the last evaluation says. */
function Metric({ summary, detail }) {
  const { metric, value, low, high, split } = summary;
  if (!Number.isFinite(value)) {
    return html`<div class="run-metric"><span class="run-metric-name">${metric ?? t("run.metric")}</span><span class="run-metric-none">${t("run.metric.none")}</span></div>`;
  }
  const evaluation = detail.evaluation ?? {};
  return html`<div class="run-metric">
    <span class="run-metric-name">${metric} <span class="muted">${t("run.metric.on", { split: t(`split.${split ?? "validation"}`) })}</span></span>
    <span class="run-metric-value">${measure(value)}${Number.isFinite(low) && Number.isFinite(high)
      && html` <span class="run-metric-interval" title=${t("run.interval", { share: percent(evaluation.confidence ?? 0.95, 0) })}>[${measure(low)}, ${measure(high)}]</span>`}</span>
    ${evaluation.verdict && html`<p class="run-verdict">${sentence(evaluation.verdict, evaluation.said?.verdict)}</p>`}
  </div>`;
}

function Progress({ summary, live }) {
  const { step, total_steps: total, epoch, num_epochs: epochs, seconds, seconds_left: left } = summary;
  const share = total > 0 ? Math.min((step ?? 0) / total, 1) : null;
  if (share === null && !Number.isFinite(seconds)) return null;
  const told = t("run.steps", { step: number(step ?? 0, 9), total: number(total, 9) });
  return html`<div class="run-progress">
    ${share !== null && html`<div class="run-progress-line"><span>${told}</span><span class="muted">${percent(share, share < 1 && live ? 1 : 0)}</span></div>
    <div class=${`progress-bar ${live ? "is-live" : ""} progress-${summary.state}`} role="progressbar" aria-label=${t("run.progress")} aria-valuemin="0" aria-valuemax="100"
      aria-valuenow=${Math.round(100 * share)} aria-valuetext=${told}><span style=${{ width: `${100 * share}%` }}></span></div>`}
    <div class="run-progress-line muted"><span>${Number.isFinite(epoch) ? t("run.epochs", { epoch: number(Math.round(epoch * 100) / 100), total: number(epochs) }) : ""}</span>
      <span>${Number.isFinite(seconds) ? t(live ? "run.so_far" : "run.took", { time: duration(seconds) }) : ""}${live && summary.state !== "paused" && Number.isFinite(left) ? ` · ${t("run.left", { time: duration(left) })}` : ""}</span></div>
  </div>`;
}
