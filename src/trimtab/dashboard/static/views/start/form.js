// The state of the form: what differs from the defaults, the run it began from, and what is sent. It outlives a refresh.
import { useEffect, useLayoutEffect, useMemo, useState } from "../../lib/ui.js";
import { active } from "./schema.js";
import { parse, same } from "./values.js";

/** @typedef {import("./schema.js").Field} Field */
/**
 * @typedef {{data: string, name: string, values: Record<string, any>, texts: Record<string, string>}} Form
 * values: by dotted key, those that are not the default; texts: what was typed where it is faulty
 */

const EMPTY = { data: "", name: "", values: {}, texts: {} };
/** Keys that decide what the data report says. */
const OF_DATA = /^(data\.|model\.|task\b|seed$)/;

/**
 * @param {object[] | null} all sections of the schema
 * @param {{key: string, base: Record<string, any> | null, proposed: Record<string, any> | null}} from
 *   key: of the place where the form is kept; base: values of the run to begin from; proposed: the same with a finding's change
 */
export function useForm(all, { key, base, proposed }) {
  const [form, setForm] = useState(EMPTY);
  const [ready, setReady] = useState(false);

  const presets = useMemo(() => (all ? presetsOf(all) : null), [all]);
  useEffect(() => {
    setReady(false);
    if (!presets || base === undefined) return;
    setForm(kept(key) ?? begun(presets, proposed ?? base));
    setReady(true);
  }, [presets, key, base, proposed]);
  useLayoutEffect(() => { // an effect would come after the next paint: too late for a refresh right after a key
    if (ready) keep(key, form);
  }, [form, ready]);

  return useMemo(() => (all && ready ? describe(all, form, setForm, base, () => setForm(begun(presets, proposed ?? base))) : null), [all, form, ready, base]);
}

/** What the views need of the form. */
function describe(all, form, setForm, base, startOver) {
  const valueOf = (field) => (field.key in form.values ? form.values[field.key] : field.preset);
  const before = (field) => (base && field.key in base ? base[field.key] : field.preset);
  const shown = active(all, valueOf);
  const fields = shown.flatMap((section) => section.fields);
  const changed = fields.filter((field) => !same(valueOf(field), before(field)));
  const faults = Object.fromEntries(
    fields.filter(({ key }) => key in form.texts).map((field) => [field.key, parse(field, form.texts[field.key]).fault]).filter(([, fault]) => fault),
  );
  const values = Object.fromEntries(fields.filter((field) => !same(valueOf(field), field.preset)).map((field) => [field.key, valueOf(field)]));
  const ofData = Object.entries(values).filter(([key]) => OF_DATA.test(key));
  return {
    ...form, shown, fields, changed, faults, valueOf, before, values, startOver,
    stamp: JSON.stringify([form.data.trim(), ofData]),
    setData: (data) => setForm((old) => ({ ...old, data })),
    setName: (name) => setForm((old) => ({ ...old, name })),
    set: (field, value) => setForm((old) => without(field, { ...old, values: put(old.values, field, value) })),
    type: (field, text) => setForm((old) => typed(field, text, old)),
    reset: (field) => setForm((old) => without(field, { ...old, values: put(old.values, field, before(field)) })),
  };
}

function presetsOf(all) {
  return Object.fromEntries(all.flatMap((section) => section.fields.filter(({ plugin }) => plugin === null).map((field) => [field.key, field])));
}

/** A form filled from a run's values: only what differs from the defaults is taken along. */
function begun(presets, values) {
  if (!values) return EMPTY;
  const taken = Object.entries(values).filter(([key, value]) => {
    if (key === "data.path" || key === "output") return false;
    return !(key in presets) || !same(value, presets[key].preset);
  });
  return { ...EMPTY, data: values["data.path"] ?? "", values: Object.fromEntries(taken) };
}

/** Another plugin drops the options of the one before. */
function put(values, field, value) {
  const kept = field.type === "plugin" ? Object.fromEntries(Object.entries(values).filter(([key]) => !key.startsWith(`${field.key}.`))) : { ...values };
  if (same(value, field.preset)) delete kept[field.key];
  else kept[field.key] = value;
  return kept;
}

function typed(field, text, old) {
  const { value, fault } = parse(field, text);
  const texts = { ...old.texts, [field.key]: text };
  return fault ? { ...old, texts } : { ...old, texts, values: put(old.values, field, value) };
}

function without(field, form) {
  const { [field.key]: _, ...texts } = form.texts;
  return { ...form, texts };
}

function kept(key) {
  try {
    return JSON.parse(sessionStorage.getItem(`trimtab.start.${key}`));
  } catch {
    return null;
  }
}

function keep(key, form) {
  try {
    sessionStorage.setItem(`trimtab.start.${key}`, JSON.stringify(form));
  } catch {
    // Where storage is forbidden the form holds until the page is left.
  }
}

/** Forgets a form that was sent. @param {string} key */
export function forget(key) {
  try {
    sessionStorage.removeItem(`trimtab.start.${key}`);
  } catch {
    // There is nothing to forget then.
  }
}
