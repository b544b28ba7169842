// Step 2: the recipe. What most runs change stands first; the sections are folded; everything can be searched.
import { html, useMemo, useState } from "../../lib/ui.js";
import { known, t } from "../../lib/i18n.js";
import { Choice } from "../../components/Toggle.js";
import { Words } from "../../components/Notice.js";
import { Control, titleOf } from "./Control.js";
import { COMMON, matches } from "./schema.js";
import { same } from "./values.js";

/**
 * @param {{form: any, told: Record<string, string[]>, marks: Record<string, string>, skip: string[],
 *   choices: Record<string, string[]>}} props skip: sections that stand elsewhere
 */
export function Settings({ form, told, marks, skip, choices }) {
  const [search, setSearch] = useState("");
  const [view, setView] = useState("all");
  const about = { form, told, marks, choices };
  const sections = form.shown.filter(({ name }) => !skip.includes(name));
  const filtered = Boolean(search.trim()) || view === "changed";
  const wanted = useMemo(() => {
    const keep = (field) => (view === "all" || form.changed.includes(field) || told[field.key] || form.faults[field.key])
      && (!search.trim() || told[field.key] || matches(field, search.trim(), titleOf(field)));
    return sections.map((section) => ({ ...section, fields: section.fields.filter(keep) })).filter(({ fields }) => fields.length);
  }, [form, search, view, told]);
  return html`<div class="start-tools">
      <input type="search" class="start-search" value=${search} placeholder=${t("start.search")} aria-label=${t("start.search")} onInput=${(event) => setSearch(event.currentTarget.value)} />
      <${Choice} label=${t("start.view")} value=${view} onChange=${setView} options=${[
        { id: "all", label: t("start.view.all") },
        { id: "changed", label: t("start.view.changed", { count: form.changed.length }) },
      ]} />
      <span class="muted small" role="status">${filtered ? t("start.found", { n: wanted.reduce((sum, { fields }) => sum + fields.length, 0) }) : ""}</span>
    </div>
    ${filtered && !wanted.length && html`<p class="empty-line">${t(view === "changed" && !search ? "start.nothing.changed" : "start.nothing.found")}</p>`}
    ${filtered ? wanted.map((section) => html`<section class="start-found" key=${section.name} aria-label=${nameOf(section)}><h3>${nameOf(section)}</h3><${Grid} fields=${section.fields} ...${about} /></section>`)
      : html`<${Common} sections=${sections} ...${about} />${sections.map((section) => html`<${Folded} key=${section.name} section=${section} ...${about} />`)}`}`;
}

function nameOf({ name }) {
  return known(`start.section.${name}`) ? t(`start.section.${name}`) : name.charAt(0).toUpperCase() + name.slice(1);
}

function Grid({ fields, form, told, marks, choices = {} }) {
  return html`<div class="start-grid">${fields.map((field) => html`<${Control} key=${`${field.plugin}/${field.key}`} field=${field} form=${form}
    told=${told[field.key]} marked=${marks[field.key]} choices=${choices[field.key]} />`)}</div>`;
}

function Common({ sections, ...about }) {
  const all = sections.flatMap(({ fields }) => fields);
  const fields = COMMON.map((key) => all.find((field) => field.key === key)).filter(Boolean);
  return html`<${Grid} fields=${fields} ...${about} />`;
}

/** One section behind a fold, which opens by itself where something in it was changed or is wrong. */
function Folded({ section, ...about }) {
  const { form, told } = about;
  const fields = section.fields.filter(({ key }) => !COMMON.includes(key));
  const changed = fields.filter((field) => !same(form.valueOf(field), form.before(field))).length;
  const faulty = fields.some(({ key }) => told[key] || form.faults[key]);
  const chosen = section.fields.find(({ type }) => type === "plugin");
  const opens = changed > 0 || faulty || Boolean(chosen && !same(form.valueOf(chosen), form.before(chosen)));
  if (!fields.length) return null;
  const plugin = chosen && fields[0].plugin ? html` <code>${fields[0].plugin}</code>` : "";
  return html`<details class="start-section" open=${opens}>
    <summary><span class="start-section-name">${nameOf(section)}${plugin}</span> <span class="start-section-help"><${Words} text=${section.help} /></span>
      ${changed > 0 ? html`<span class="start-mark">${t("start.changed.count", { n: changed })}</span>` : html`<span class="start-section-count">${fields.length}</span>`}</summary>
    <${Grid} fields=${fields} ...${about} />
  </details>`;
}

/** The fields of one section in place: those with a flag first, the others behind a fold. */
export function Part({ section, ...about }) {
  const { form, told } = about;
  const isFirst = (field) => field.basic || told[field.key] || form.faults[field.key] || field.key in form.values;
  const folded = section.fields.filter((field) => !isFirst(field));
  return html`<${Grid} fields=${section.fields.filter(isFirst)} ...${about} />
    ${folded.length > 0 && html`<details class="start-fold"><summary>${t("start.more", { n: folded.length })}</summary><${Grid} fields=${folded} ...${about} /></details>`}`;
}
