// Step 3: what differs, what the run is called, and the button that starts it.
import { html } from "../../lib/ui.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../components/Button.js";
import { Waiting } from "../../components/Notice.js";
import { shownValue, titleOf } from "./Control.js";

/** @param {{form: any, work: any, origin: any, marks: Record<string, string>, canStart: boolean}} props */
export function Launch({ form, work, origin, marks, canStart }) {
  const faulty = Object.keys(form.faults).length;
  const why = !canStart ? t("start.forbidden") : faulty ? t("start.why.faults", { n: faulty }) : !form.data.trim() ? t("start.why.data")
    : work.isRefused && work.isChecked ? t("start.refused") : !work.isChecked ? t("start.why.check") : "";
  return html`
    <${Changes} form=${form} origin=${origin} marks=${marks} />
    <div class="start-launch">
      <div class="start-name">
        <label class="field-label" for="start-name">${t("start.name")}</label>
        <input id="start-name" type="text" value=${form.name} placeholder=${t("start.name.auto")} spellcheck="false" autocomplete="off" maxlength="120"
          onInput=${(event) => form.setName(event.currentTarget.value)} />
      </div>
      <${Button} kind="primary" class="start-go" busy=${work.busy === "start"} disabled=${Boolean(why) || work.busy === "check"} onClick=${work.start}>${t("start.go")}<//>
      ${why && html`<span class="muted" role="status">${why}</span>`}
      ${why && canStart && form.data.trim() && !faulty && !work.isChecked && html`<${Button} busy=${work.busy === "check"} onClick=${work.check}>${t(work.report ? "start.check.again" : "start.check")}<//>`}
    </div>
    ${work.busy === "start" && html`<${Waiting} label=${t("start.starting", { name: work.run || "…" })} />
      ${work.log && html`<pre class="start-log" tabindex="0" aria-label=${t("start.log")}>${work.log.split("\n").slice(-8).join("\n")}</pre>`}`}`;
}

/** Every key that is not as the run to begin from, or the recipe, has it. */
function Changes({ form, origin, marks }) {
  if (!form.changed.length) return html`<p class="muted">${t(origin.run ? "start.same.run" : "start.same")}</p>`;
  return html`<div class="table-scroll" tabindex="0" role="region" aria-label=${t("start.changes")}><table class="table start-changes">
    <caption>${t(origin.run ? "start.changes.run" : "start.changes")}</caption>
    <thead><tr><th scope="col">${t("start.changes.key")}</th><th scope="col">${t("start.changes.before")}</th><th scope="col">${t("start.changes.after")}</th><th scope="col"><span class="visually-hidden">${t("start.reset")}</span></th></tr></thead>
    <tbody>${form.changed.map((field) => html`<tr key=${field.key}>
      <th scope="row">${titleOf(field)} <code>${field.key}</code>${marks[field.key] ? html` <span class="start-mark">${marks[field.key]}</span>` : ""}</th>
      <td><del>${shownValue(form.before(field))}</del></td><td><ins>${shownValue(form.valueOf(field))}</ins></td>
      <td><button type="button" class="start-reset" title=${t("start.reset")} aria-label=${t("start.reset.label", { name: titleOf(field), value: shownValue(form.before(field)) })} onClick=${() => form.reset(field)}>↺</button></td>
    </tr>`)}</tbody>
  </table></div>`;
}
