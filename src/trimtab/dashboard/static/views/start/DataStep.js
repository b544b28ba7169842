// Step 1: which data, which of their columns, and what the check found in them.
import { html } from "../../lib/ui.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../components/Button.js";
import { Notice, Waiting } from "../../components/Notice.js";
import { Part } from "./Settings.js";
import { Report } from "./Report.js";

/** @param {{form: any, work: any, choices: Record<string, string[]>, marks: Record<string, string>}} props */
export function DataStep({ form, work, choices, marks }) {
  const section = form.shown.find(({ name }) => name === "data");
  const submit = (event) => {
    event.preventDefault();
    if (form.data.trim()) work.check();
  };
  const forces = form.fields.find(({ key }) => key === "data.force");
  return html`<form class="start-data" onSubmit=${submit}>
      <label class="field-label" for="start-data">${t("start.data")}</label>
      <div class="start-data-line">
        <input id="start-data" type="text" value=${form.data} placeholder=${t("start.data.example")} spellcheck="false" autocomplete="off"
          list="start-data-known" aria-describedby="start-data-help" onInput=${(event) => form.setData(event.currentTarget.value)} />
        <datalist id="start-data-known">${(choices["data.path"] ?? []).map((one) => html`<option value=${one} />`)}</datalist>
        <${Button} type="submit" kind=${work.isChecked ? "plain" : "primary"} busy=${work.busy === "check"} disabled=${!form.data.trim() || work.busy === "start"}>${t(work.report ? "start.check.again" : "start.check")}<//>
      </div>
      <p class="muted small" id="start-data-help">${t("start.data.help")}</p>
    </form>
    <details class="start-fold" open=${anyOf(section, form, work)}><summary>${t("start.columns")}</summary>
      <${Part} section=${section} form=${form} told=${work.told.byKey} marks=${marks} />
    </details>
    ${work.busy === "check" && html`<${Waiting} label=${t("start.checking")} />`}
    ${work.isStale && html`<${Notice} kind="warning" title=${t("start.stale")}><p>${t("start.stale.text")}</p><//>`}
    ${work.report && html`<div class=${work.isStale ? "is-stale" : ""}>
      ${work.hasRefusals && html`<${Notice} kind=${work.isRefused ? "error" : "warning"} title=${t("start.refused")}>
        <p>${t("start.refused.text")}</p>
        ${forces && html`<p><label class="start-force"><input type="checkbox" checked=${form.valueOf(forces) === true} onChange=${(event) => form.set(forces, event.currentTarget.checked)} /> ${t("start.force")} <code>data.force</code></label></p>`}
      <//>`}
      <${Report} report=${work.report} />
    </div>`}`;
}

/** Columns are unfolded where something was set or is wrong in them. */
function anyOf(section, form, work) {
  return section.fields.some((field) => work.told.byKey[field.key] || form.faults[field.key] || (field.key !== "data.force" && field.key in form.values));
}
