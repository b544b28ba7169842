// The numbers behind a finding, as a table.
import { html } from "../../lib/ui.js";
import { number } from "../../lib/format.js";
import { known, register, t } from "../../lib/i18n.js";
import * as words from "../../text/evidence.js";

register(words);

const MOST = 12; // entries of a list that are shown
const BETWEEN = " · "; // names of groups, and the name within

/** What a number, or a column of rows, is called. @param {string} name */
export function nameOf(name) {
  return known(`evidence.${name}`) ? t(`evidence.${name}`) : name.replaceAll("_", " ");
}

/** @param {{evidence: Record<string, any>, bare?: boolean}} props bare: without the head */
export function Evidence({ evidence, bare }) {
  const entries = flat(evidence ?? {});
  if (!entries.length) return null;
  return html`${!bare && html`<h3>${t("finding.evidence")}</h3>`}
    <table class="table evidence"><caption class="visually-hidden">${t("finding.evidence")}</caption>
      <tbody>${entries.map(([name, value]) => html`<tr key=${name}><th scope="row">${name.split(BETWEEN).map(nameOf).join(BETWEEN)}</th>
        <td>${shown(value)}</td></tr>`)}</tbody></table>`;
}

/** Nested groups as "group · name"; lists stay one value. */
function flat(evidence, before = "") {
  return Object.entries(evidence).flatMap(([name, value]) =>
    (value && typeof value === "object" && !Array.isArray(value) ? flat(value, `${before}${name}${BETWEEN}`) : [[`${before}${name}`, value]]));
}

function shown(value) {
  if (typeof value === "number") return number(value);
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  if (Array.isArray(value)) {
    const all = value.map((one) => (one && typeof one === "object" ? JSON.stringify(one) : shown(one)));
    return all.slice(0, MOST).join(", ") + (all.length > MOST ? ` … (${all.length})` : "");
  }
  return String(value ?? "–");
}
