// One field of the form: its name, its control, its help, and what is wrong with it.
import { html, useState } from "../../lib/ui.js";
import { known, t } from "../../lib/i18n.js";
import { plain } from "../../lib/format.js";
import { Words } from "../../components/Notice.js";
import { allowed, asText, same } from "./values.js";

/** @typedef {import("./schema.js").Field} Field */

/** The field's name in the page's language; fields without one have that of the schema. @param {Field} field */
export function titleOf(field) {
  const key = `start.field.${field.key}`;
  if (known(key)) return t(key);
  return field.title.charAt(0).toUpperCase() + field.title.slice(1).toLowerCase();
}

/** A value as the page writes it. @param {any} value */
export function shownValue(value) {
  if (value === null || value === undefined) return t("start.none");
  if (Array.isArray(value) || typeof value === "string") return value.length ? String(Array.isArray(value) ? JSON.stringify(value) : value) : "[]";
  return plain(value);
}

/**
 * @param {{field: Field, form: any, told?: string[], marked?: string | null, choices?: string[]}} props
 *   told: what the check or the start said of this field; marked: why it was changed; choices: offered for a text
 */
export function Control({ field, form, told = [], marked = null, choices }) {
  const [open, setOpen] = useState(false);
  const id = `field-${field.key}`;
  const value = form.valueOf(field);
  const changed = !same(value, form.before(field));
  const fault = form.faults[field.key];
  const faults = [...(fault ? [fault] : []), ...told];
  const about = `${id}-help${faults.length ? ` ${id}-fault` : ""}`;
  const described = { id, "aria-describedby": about, "aria-invalid": faults.length ? "true" : undefined };
  return html`<div class=${`start-field${changed ? " is-changed" : ""}${faults.length ? " is-faulty" : ""}${isWide(field) ? " is-wide" : ""}`} data-key=${field.key}>
    <div class="start-field-head">
      <label for=${id}>${titleOf(field)}</label>
      ${marked && html`<span class="start-mark">${marked}</span>`}
      ${changed && html`<button type="button" class="start-reset" title=${t("start.reset.to", { value: shownValue(form.before(field)) })}
        aria-label=${t("start.reset.label", { name: titleOf(field), value: shownValue(form.before(field)) })} onClick=${() => form.reset(field)}>↺</button>`}
    </div>
    <${Input} field=${field} form=${form} value=${value} described=${described} choices=${choices} />
    ${changed && html`<p class="start-before"><span>${t("start.before")}</span> <del>${shownValue(form.before(field))}</del></p>`}
    ${faults.length > 0 && html`<p class="start-fault" id="${id}-fault" role="alert">${faults.join(" ")}</p>`}
    <div class="start-help">
      <p id="${id}-help" class=${open ? "" : "is-folded"}><span class="start-key">${field.key}</span> <${Words} text=${field.help} />${allowed(field) ? html` <span class="start-allowed">(${allowed(field)})</span>` : ""}</p>
      ${field.help.length > 60 && html`<button type="button" class="start-more" aria-expanded=${open} aria-controls="${id}-help"
        aria-label=${t(open ? "start.help.less.of" : "start.help.more.of", { name: titleOf(field) })} onClick=${() => setOpen(!open)}>${t(open ? "start.help.less" : "start.help.more")}</button>`}
    </div>
  </div>`;
}

function isWide(field) {
  return field.type === "map" || field.items?.type === "array";
}

function Input({ field, form, value, described, choices }) {
  if (field.type === "boolean" && !field.auto && !field.nullable) {
    return html`<label class="start-check"><input type="checkbox" role="switch" ...${described} checked=${value === true}
      onChange=${(event) => form.set(field, event.currentTarget.checked)} /><span aria-hidden="true">${t(value ? "yes" : "no")}</span></label>`;
  }
  if (field.type === "boolean" || field.type === "choice" || field.type === "plugin") {
    return html`<${Select} field=${field} form=${form} value=${value} described=${described} />`;
  }
  if (field.type === "map") return html`<${MapInput} field=${field} form=${form} value=${value} described=${described} />`;
  const text = form.texts[field.key] ?? asText(field, value);
  const change = (event) => form.type(field, event.currentTarget.value);
  if (field.type === "list") {
    return html`<textarea ...${described} rows=${Math.min(6, Math.max(1, text.split("\n").length))} spellcheck="false"
      placeholder=${t(field.items?.type === "array" ? "start.list.nested" : "start.list")} onInput=${change}>${text}</textarea>`;
  }
  const numeric = field.type === "number" || field.type === "integer";
  const input = html`<input type="text" ...${described} value=${text} spellcheck="false" autocomplete="off" inputmode=${numeric && !field.auto ? "decimal" : undefined}
    list=${choices?.length ? `${described.id}-list` : undefined} placeholder=${field.nullable ? t("start.none") : ""} onInput=${change} />`;
  return html`<div class="start-input">${input}
    ${choices?.length ? html`<datalist id="${described.id}-list">${choices.map((one) => html`<option value=${one} />`)}</datalist>` : ""}
    ${field.auto && html`<button type="button" class="start-auto" aria-pressed=${value === "auto" && !(field.key in form.texts)} title=${t("start.auto.title")}
      aria-label=${t("start.auto.label", { name: titleOf(field) })} onClick=${() => form.set(field, "auto")}>auto</button>`}
  </div>`;
}

/** A choice; null and `auto` stand in it where the field takes them. */
function Select({ field, form, value, described }) {
  const options = field.type === "boolean" ? [[true, t("yes")], [false, t("no")]] : field.choices.map((one) => [one, one]);
  if (field.auto && !field.choices.includes("auto")) options.unshift(["auto", "auto"]);
  if (field.nullable) options.unshift([null, t("start.none")]);
  const at = options.findIndex(([one]) => same(one, value));
  return html`<select ...${described} onChange=${(event) => form.set(field, options[event.currentTarget.selectedIndex][0])}>
    ${at < 0 && html`<option selected disabled>${shownValue(value)}</option>`}
    ${options.map(([one, word], i) => html`<option key=${String(one)} selected=${i === at}>${word}${same(one, field.preset) ? ` ${t("start.default.mark")}` : ""}</option>`)}
  </select>`;
}

/** Nothing, one of the words, or own numbers by label. */
function MapInput({ field, form, value, described }) {
  const [own, setOwn] = useState(typeof value === "object" && value !== null);
  const written = typeof value === "object" && value !== null;
  const isOwn = written || own;
  const choose = (event) => {
    const at = event.currentTarget.selectedIndex;
    setOwn(at > field.choices.length);
    if (at <= field.choices.length) form.set(field, at === 0 ? null : field.choices[at - 1]);
  };
  return html`<div class="start-map">
    <select ...${described} onChange=${choose}>
      <option selected=${!isOwn && !value}>${t("start.none")}</option>
      ${field.choices.map((one) => html`<option key=${one} selected=${!isOwn && value === one}>${one}</option>`)}
      <option selected=${isOwn}>${t("start.map.own")}</option>
    </select>
    ${isOwn && html`<textarea rows="3" spellcheck="false" aria-label=${t("start.map.label", { name: titleOf(field) })} placeholder=${t("start.map")}
      onInput=${(event) => form.type(field, event.currentTarget.value)}>${form.texts[field.key] ?? (written ? asText(field, value) : "")}</textarea>`}
  </div>`;
}
