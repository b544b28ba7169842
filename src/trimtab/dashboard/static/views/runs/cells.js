// What stands in the cells of the list.
import { html } from "../../lib/ui.js";
import { duration, interval, measure, moment, number, percent } from "../../lib/format.js";
import { t } from "../../lib/i18n.js";
import { sentence } from "../../lib/said.js";
import { SeverityBadge, findingName } from "../../components/Badge.js";
import { isLive } from "./query.js";

const WIDTH = 64; // px of the drawn interval

/**
 * A metric's value, and its interval drawn on the scale that all runs of that metric in the list share.
 * @param {{run: object, scale?: {low: number, high: number}}} props
 */
export function Metric({ run, scale }) {
  if (!Number.isFinite(run.value)) return html`<span class="muted">–</span>`;
  const whole = t(run.split ? "runs.metric.title" : "runs.metric.title.plain", { metric: run.metric, value: interval(run.value, run.low, run.high), split: run.split });
  return html`<div class="metric" title=${whole}>
    <span class="metric-value">${measure(run.value)}</span>
    <${Whiskers} value=${run.value} low=${run.low} high=${run.high} scale=${scale} />
    <span class="metric-name cut">${run.metric}</span>
    ${Number.isFinite(run.low) && html`<span class="metric-interval">${measure(run.low)}–${measure(run.high)}</span>`}
  </div>`;
}

export function Whiskers({ value, low, high, scale }) {
  if (!scale || !(scale.high > scale.low)) return html`<span></span>`;
  const x = (v) => 4 + ((Math.min(scale.high, Math.max(scale.low, v)) - scale.low) / (scale.high - scale.low)) * (WIDTH - 8);
  const bar = Number.isFinite(low) && Number.isFinite(high);
  return html`<svg class="whiskers" width=${WIDTH} height="14" viewBox="0 0 ${WIDTH} 14" aria-hidden="true">
    <line class="whiskers-ground" x1="0" x2=${WIDTH} y1="7" y2="7" />
    ${bar && html`<path d="M${x(low)} 3.5v7M${x(low)} 7H${x(high)}M${x(high)} 3.5v7" />`}
    <circle cx=${x(value)} cy="7" r="3" />
  </svg>`;
}

/** The least and greatest end of the intervals, by metric. @returns {Record<string, {low: number, high: number}>} */
export function metricScales(runs) {
  const scales = {};
  for (const run of runs) {
    if (!Number.isFinite(run.value)) continue;
    const ends = [run.value, run.low, run.high].filter(Number.isFinite);
    const scale = (scales[run.metric] ??= { low: Infinity, high: -Infinity });
    scale.low = Math.min(scale.low, ...ends);
    scale.high = Math.max(scale.high, ...ends);
  }
  return scales;
}

/** The worst finding by name, and how many there are of each severity. */
export function Findings({ run }) {
  const counts = ["act", "warning", "info"].filter((severity) => run.findings?.[severity] > 0);
  if (!counts.length) return html`<span class="muted small">${t("runs.findings.none")}</span>`;
  const worst = run.worst;
  return html`<div class="findings" title=${worst && sentence(worst.message, worst.said?.message)}>
    ${worst && html`<span class="finding-worst cut severity-${worst.severity}">${findingName(worst.name)}</span>`}
    <span class="finding-counts">${counts.map((severity) => html`<${SeverityBadge} key=${severity} severity=${severity} count=${run.findings[severity]} />`)}</span>
  </div>`;
}

/** How far a run at work is and what is left of it; how long it took, once it is over. */
export function Time({ run }) {
  const share = run.total_steps > 0 && Number.isFinite(run.step) ? Math.min(1, run.step / run.total_steps) : null;
  if (!isLive(run) && run.state !== "paused") {
    const cut = run.state !== "finished" && share !== null && share < 1 ? t("runs.time.cut", { share: percent(share, 0) }) : "";
    return html`<span>${duration(run.seconds)}</span>${cut && html`<span class="second-line muted small">${cut}</span>`}`;
  }
  const left = Number.isFinite(run.seconds_left) ? t("runs.time.left", { time: duration(coarse(run.seconds_left)) }) : duration(run.seconds);
  if (share === null) return html`<span class="muted">${duration(run.seconds)}</span>`;
  const title = t("runs.time.title", { step: number(run.step), total: number(run.total_steps), time: duration(run.seconds) });
  return html`<div class="progress-cell" title=${title}>
    <${Progress} share=${share} label=${title} paused=${run.state === "paused"} />
    <span class="small cut"><span class="progress-share">${percent(share, 0)}</span>${run.state === "paused" ? "" : ` · ${left}`}</span>
  </div>`;
}

/** An estimate in the unit that counts, so that it fits: whole minutes, or whole hours. @param {number} seconds */
function coarse(seconds) {
  const unit = seconds > 5400 ? 3600 : seconds > 90 ? 60 : 1;
  return unit * Math.round(seconds / unit);
}

export function Progress({ share, label, paused }) {
  return html`<div class="progress ${paused ? "is-paused" : ""}" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${Math.round(100 * share)}><div style=${{ width: `${(100 * share).toFixed(1)}%` }}></div></div>`;
}

/** A model id or a path by its last part; the whole of it on hover. */
export function ShortPath({ text }) {
  if (!text) return html`<span class="muted">–</span>`;
  const parts = String(text).split("/").filter(Boolean);
  return html`<span class="cut block" title=${text}>${parts[parts.length - 1] ?? text}</span>`;
}

export function Moment({ epoch, text }) {
  return html`<span class="cut block" title=${moment(epoch)}>${text}</span>`;
}
