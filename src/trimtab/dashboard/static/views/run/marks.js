// Findings and actions of a run as marks on the axis, and stages as bands.
import { useMemo, useState, html } from "../../lib/ui.js";
import { known, t } from "../../lib/i18n.js";
import { moment, plain } from "../../lib/format.js";
import { Dialog } from "../../components/Dialog.js";
import { commandName } from "./requests.js";

const QUIET = ["fill_cache", "token_rows", "merge", "stage", "skip_checkpoint", "condition_failed", "retention_failed"]; // told by the log; stages are bands

/** The name of a finding in the page's language. @param {string} name */
export function findingName(name) {
  const words = known(`finding.${name}`) ? t(`finding.${name}`) : name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** An action or control event in words. */
export function actionName(action) {
  if (action.action === "control" || action.command) {
    const name = commandName(action.command, action);
    return action.accepted === false ? t("action.refused", { name }) : name;
  }
  return known(`action.${action.action}`) ? t(`action.${action.action}`) : String(action.action ?? "").replaceAll("_", " ");
}

/**
 * @param {object} run @returns {{marks: object[], bands: object[], dialog: any}} dialog: what a mark of an action opens
 */
export function useMarks(run) {
  const [shown, setShown] = useState(null);
  const { findings, actions, stages } = run.detail;
  const marks = useMemo(() => {
    const found = findings.filter((finding) => Number.isFinite(finding.since) && (finding.x_label ?? "step") === "step").map((finding) => ({
      step: finding.since, severity: finding.severity, label: findingName(finding.name), onClick: () => run.open(`findings?finding=${finding.index}`),
    }));
    // What went back to an earlier step took place there: the steps after it are void.
    const done = actions.filter((action) => Number.isFinite(action.step) && !QUIET.includes(action.action)).map((action) => ({
      step: action.back_to ?? action.step, severity: "action", label: actionName(action), onClick: () => setShown(action),
    }));
    return [...found, ...done];
  }, [findings, actions, run.id]);
  const last = run.summary.total_steps || run.summary.step || 0;
  const bands = useMemo(() => bandsOf(stages ?? [], last), [stages, last]);
  const dialog = shown && html`<${Dialog} title=${actionName(shown)} onClose=${() => setShown(null)}>
    <dl class="pairs">${Object.entries(shown).filter(([key, value]) => !["action", "type", "id"].includes(key) && value !== null).map(([key, value]) => html`
      <dt key=${key}>${known(`field.${key}`) ? t(`field.${key}`) : key.replaceAll("_", " ")}</dt><dd>${key === "time" ? moment(value) : plain(value)}</dd>`)}</dl>
  <//>`;
  return { marks, bands, dialog };
}

/** Stages as bands from end to end; what trained before the first one that was told is a band without a name. */
function bandsOf(stages, last) {
  const bands = stages.map(({ name, from, to }) => ({ from: from ?? 0, to: to ?? last, label: from > 0 ? t("curve.stage", { name }) : name }));
  return bands[0]?.from > 0 ? [{ from: 0, to: bands[0].from, label: "" }, ...bands] : bands;
}
