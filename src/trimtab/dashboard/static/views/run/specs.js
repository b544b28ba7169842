// Which charts a run has: made from the series that are there, so that a run without signals shows what it has.
import { t } from "../../lib/i18n.js";
import { number } from "../../lib/format.js";
import { byDepth } from "../../charts/heat_data.js";
import { depthColor } from "../../charts/colors.js";
import { has, named } from "./tables.js";

const APART = ["loss", "log_loss", "ece"]; // of the evaluations, those that are no measure of success
const KNOWN_STEP = /^(loss|grad_norm|samples_per_second|tokens_per_second|padding_share|learning_rate\/|extras\/)/;

/** @typedef {{id: string, title: string, note?: string, lines: object[], shade?: [number, number], zero?: boolean,
 *   wide?: boolean, smoothable?: boolean}} Spec */

/** Loss: on the fixed sample and on validation rows, the gap between them, and each step's own loss, thin. */
export function lossSpec(tables) {
  const lines = [];
  const held = has(tables, "evaluation", "held_in/loss");
  const validation = has(tables, "evaluation", "validation/loss");
  if (held) lines.push(line("evaluation", "held_in/loss", t("line.held_in"), "--series-1", { smooth: false }));
  if (validation) lines.push(line("evaluation", "validation/loss", t("line.validation"), "--series-2", { smooth: false }));
  if (has(tables, "step", "loss")) {
    lines.push(line("step", "loss", t("line.step_loss"), held || validation ? "--muted" : "--series-1", { width: 1, alpha: held ? 0.7 : 1, points: false }));
  }
  if (!lines.length) return null;
  return { id: "loss", title: t("curve.loss"), note: held && validation ? t("curve.loss.note") : undefined, lines, shade: held && validation ? [0, 1] : undefined, wide: true };
}

/** The metric that the run is judged by, on validation rows and on the fixed sample. */
export function metricSpec(tables, metric) {
  if (!metric || metric === "loss" || !has(tables, "evaluation", `validation/${metric}`)) return null;
  const lines = [line("evaluation", `validation/${metric}`, t("line.validation"), "--series-2", { smooth: false })];
  if (has(tables, "evaluation", `held_in/${metric}`)) {
    lines.unshift(line("evaluation", `held_in/${metric}`, t("line.held_in"), "--series-1", { smooth: false }));
  }
  return { id: "metric", title: metric, lines, note: t("curve.metric.note"), wide: true };
}

/** All charts of lines, in the order of the page. @returns {Spec[]} */
export function specs(tables, summary, start) {
  const all = [
    lossSpec(tables),
    metricSpec(tables, summary.metric),
    otherMetrics(tables, summary.metric),
    calibration(tables),
    group(tables, "step", "learning_rate/", { id: "rate", title: t("curve.rate"), zero: true, smooth: false }),
    gradient(tables, start),
    throughput(tables),
    single(tables, "step", "padding_share", { id: "padding", title: t("curve.padding"), note: t("curve.padding.note"), zero: true }),
    single(tables, "signals", "memory_mib", { id: "memory", title: t("curve.memory"), zero: true, smooth: false }),
    single(tables, "signals", "noise_scale", { id: "noise", title: t("curve.noise"), note: t("curve.noise.note") }),
    blocks(tables, "drift", t("curve.drift"), t("curve.drift.note")),
    blocks(tables, "dead_units", t("curve.dead"), t("curve.dead.note")),
    blocks(tables, "attention_entropy", t("curve.entropy"), t("curve.entropy.note")),
    group(tables, "step", "extras/", { id: "extras", title: t("curve.extras") }),
    ...others(tables),
  ];
  return all.filter(Boolean);
}

function line(table, name, label, color, more = {}) {
  return { table, name, label, color, ...more };
}

function single(tables, table, name, { smooth = true, ...about }) {
  if (!has(tables, table, name)) return null;
  return { ...about, lines: [line(table, name, about.title, "--series-1", { smooth })], smoothable: smooth };
}

function group(tables, table, prefix, { smooth = true, ...about }) {
  const names = named(tables, table, prefix);
  if (!names.length) return null;
  const depth = names.length > 8;
  const sorted = depth ? byDepth(names) : names;
  const lines = sorted.map((name, i) => line(table, name, name.slice(prefix.length), depth ? depthColor(i, names.length) : `--series-${i + 1}`, { smooth }));
  return { ...about, lines, smoothable: smooth };
}

function blocks(tables, kind, title, note) {
  const names = byDepth(named(tables, "inspection", `${kind}/`));
  if (!names.length) return null;
  const lines = names.map((name, i) => line("inspection", name, name.slice(kind.length + 1), depthColor(i, names.length), { smooth: false }));
  return { id: kind, title, note, lines, zero: true };
}

function otherMetrics(tables, metric) {
  const names = named(tables, "evaluation", "validation/").map((name) => name.slice(11)).filter((name) => name !== metric && !APART.includes(name));
  if (!names.length) return null;
  return { id: "metrics", title: t("curve.metrics"), lines: names.slice(0, 8).map((name, i) => line("evaluation", `validation/${name}`, name, `--series-${i + 1}`, { smooth: false })) };
}

function calibration(tables) {
  const found = ["validation/ece", "ece"].find((name) => has(tables, "evaluation", name));
  return found ? { id: "ece", title: t("curve.ece"), note: t("curve.ece.note"), zero: true, lines: [line("evaluation", found, t("line.validation"), "--series-2", { smooth: false })] } : null;
}

function gradient(tables, start) {
  const spec = single(tables, "step", "grad_norm", { id: "grad_norm", title: t("curve.grad_norm") });
  const limit = start?.max_grad_norm;
  return spec && limit ? { ...spec, note: t("curve.grad_norm.note", { limit: number(limit) }) } : spec;
}

function throughput(tables) {
  const lines = [];
  if (has(tables, "step", "samples_per_second")) lines.push(line("step", "samples_per_second", t("line.samples"), "--series-1"));
  if (has(tables, "step", "tokens_per_second")) lines.push(line("step", "tokens_per_second", t("line.tokens"), "--series-3", lines.length ? { side: "right" } : {}));
  return lines.length ? { id: "throughput", title: t("curve.throughput"), note: lines.length > 1 ? t("curve.throughput.note") : undefined, lines, zero: true, smoothable: true } : null;
}

/** Series that nobody foresaw: of other programs, or of a later version. */
function others(tables) {
  const step = named(tables, "step", "").filter((name) => !KNOWN_STEP.test(name)).map((name) => ["step", name]);
  const evaluation = named(tables, "evaluation", "").filter((name) => !/^(validation\/|held_in\/|ece$)/.test(name)).map((name) => ["evaluation", name]);
  return [...step, ...evaluation].slice(0, 24).map(([table, name]) => ({ id: `${table} ${name}`, title: name, lines: [line(table, name, name, "--series-1")], smoothable: true }));
}
