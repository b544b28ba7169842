// One run of the list: as a row of the table, as a card on a narrow page; and the row that heads a group.
import { html, memo } from "../../lib/ui.js";
import { measure, plain, when } from "../../lib/format.js";
import { t } from "../../lib/i18n.js";
import { runHash } from "../../lib/router.js";
import { Button } from "../../components/Button.js";
import { StateBadge, Tag } from "../../components/Badge.js";
import { Spark } from "../../components/Spark.js";
import { Findings, Metric, Time } from "./cells.js";

/**
 * What rows need of the list.
 * @typedef {{columns: object[], scales: object, chosen: Set<string>, current: string | null, choose: (id: string, on: boolean,
 *   range: boolean) => void, edit: (id: string) => void, tag: (tag: string) => void, archive: (run: object) => void}} Context
 */

export const Row = memo(({ run, context, index }) => {
  const chosen = context.chosen.has(run.id);
  return html`<tr class="row ${chosen ? "is-chosen" : ""} ${context.current === run.id ? "is-current" : ""} ${run.archived ? "is-archived" : ""}"
      data-run=${run.id} aria-rowindex=${index + 2} aria-selected=${chosen ? "true" : undefined} onClick=${(event) => open(event, run)}>
    <td class="cell-choose"><${Choose} run=${run} context=${context} /></td>
    <th scope="row" class="cell-name"><${Name} run=${run} context=${context} /></th>
    ${context.columns.map((column) => html`<td key=${column.id} class="cell-${column.id.replace(/\W/g, "-")} ${column.numeric ? "numeric" : ""}">${column.cell(run, context)}</td>`)}
    <td class="cell-edit"><${Edit} run=${run} context=${context} /></td>
  </tr>`;
});

export const Card = memo(({ run, context }) => {
  const chosen = context.chosen.has(run.id);
  const about = [run.model, run.data, run.strategy].filter(Boolean).map((part) => String(part).split("/").filter(Boolean).pop());
  return html`<li class="run-card ${chosen ? "is-chosen" : ""} ${context.current === run.id ? "is-current" : ""} ${run.archived ? "is-archived" : ""}"
      data-run=${run.id} onClick=${(event) => open(event, run)}>
    <div class="run-card-head"><${Choose} run=${run} context=${context} /><${NameLink} run=${run} /><${StateBadge} state=${run.state} /><${Edit} run=${run} context=${context} /></div>
    <div class="run-card-middle"><${Metric} run=${run} scale=${context.scales[run.metric]} /><${Spark} points=${run.curve?.points} label=${run.curve?.name} width=${84} /></div>
    <div class="run-card-line"><${Findings} run=${run} /><span class="run-card-time"><${Time} run=${run} /></span></div>
    <div class="run-card-foot cut muted small"><${Remarks} run=${run} context=${context} otherwise=${[...about, when(run.started)].join(" · ")} /></div>
  </li>`;
});

/** A click anywhere in the row opens the run, unless it meant something else: a control, or marking text. */
function open(event, run) {
  if (event.defaultPrevented || event.target.closest("a, button, input, label, form")) return;
  if (String(window.getSelection()) !== "") return;
  location.hash = runHash(run.id);
}

function Choose({ run, context }) {
  const change = (event) => context.choose(run.id, event.currentTarget.checked, event.shiftKey);
  return html`<label class="choose"><input type="checkbox" checked=${context.chosen.has(run.id)} aria-label=${t("runs.choose", { name: run.name })}
    onClick=${change} /></label>`;
}

function NameLink({ run }) {
  return html`<a class="run-name cut" href=${runHash(run.id)} title=${run.id}><bdi>${run.name}</bdi></a>`;
}

function Name({ run, context }) {
  return html`<div class="name-box"><${NameLink} run=${run} /><span class="second-line cut muted small"><${Remarks} run=${run} context=${context} otherwise=${run.id === run.name ? "" : run.id} /></span></div>`;
}

/** The second line: why it failed, else its tags and note, else whatever helps to tell it from others. */
function Remarks({ run, context, otherwise }) {
  const tags = (run.tags ?? []).map((tag) => html`<${Tag} key=${tag} onClick=${() => context.tag(tag)} title=${t("runs.tag.filter", { tag })}>${tag}<//>`);
  const foreign = run.foreign ? html`<span class="foreign-kind">${t("runs.foreign", { kind: run.foreign })}</span> ` : "";
  const archived = run.archived ? html`<span class="foreign-kind">${t("runs.archived")}</span> ` : "";
  const error = run.error ? html`<span class="bad" title="${run.error.message} ${run.error.remedy ?? ""}">${run.error.message}</span>` : "";
  const note = run.note ? html`<span title=${run.note}>${run.note}</span>` : "";
  if (!error && !note && !tags.length && !foreign && !archived) return html`<span title=${otherwise}>${otherwise}</span>`;
  return html`${archived}${foreign}${tags} ${note} ${error}`;
}

function Edit({ run, context }) {
  return html`<${Button} kind="icon" class="edit-button" label=${t("runs.edit.of", { name: run.name })} onClick=${() => context.edit(run.id)}>
    <svg width="14" height="14" viewBox="0 0 16 16" aria-hidden="true"><path d="M2 14l.8-3.4L11 2.4a1.4 1.4 0 0 1 2 0l.6.6a1.4 1.4 0 0 1 0 2L5.4 13.2z" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round" /></svg>
  <//>`;
}

/** @param {{group: object, label: string, closed: boolean, onToggle: () => void, onChoose: (on: boolean) => void, chosen: boolean}} props */
export function GroupHead({ group, label, closed, onToggle, onChoose, chosen }) {
  const mean = group.mean === null ? (group.counted > 1 ? t("runs.group.mixed") : "") : t(group.spread === null ? "runs.group.one" : "runs.group.mean", {
    metric: group.metric, mean: measure(group.mean), spread: measure(group.spread), count: group.counted });
  return html`<div class="group-head">
    <label class="choose"><input type="checkbox" checked=${chosen} aria-label=${t("runs.group.choose", { name: plain(group.value) })} onChange=${(event) => onChoose(event.currentTarget.checked)} /></label>
    <button type="button" class="group-toggle" aria-expanded=${closed ? "false" : "true"} onClick=${onToggle}>
      <span class="group-sign" aria-hidden="true">${closed ? "▸" : "▾"}</span><span class="muted">${label}</span> <strong class="cut">${groupName(group.value)}</strong></button>
    <span class="muted small">${t("runs.count", { n: group.runs.length })}</span>
    <span class="group-mean">${mean}</span>
  </div>`;
}

function groupName(value) {
  return value === null || value === "" ? t("runs.group.without") : plain(value);
}
