// Values of fields: from text and back, with the faults that the schema already tells.
import { t } from "../../lib/i18n.js";

/** @typedef {import("./schema.js").Field} Field */

/** Whether two values of a recipe are the same. */
export function same(a, b) {
  if (a === b) return true;
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return (a ?? null) === (b ?? null);
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [keys, others] = [Object.keys(a), Object.keys(b)];
  return keys.length === others.length && keys.every((key) => key in b && same(a[key], b[key]));
}

/** The text that an input shows for a value. @param {Field} field @param {any} value */
export function asText(field, value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map((item) => (Array.isArray(item) ? item.join(" ") : String(item))).join("\n");
  if (typeof value === "object") return Object.entries(value).map(([name, weight]) => `${name}: ${weight}`).join("\n");
  return String(value);
}

/**
 * What was typed, as a value of the field.
 * @param {Field} field @param {string} text @returns {{value: any, fault: string | null}}
 */
export function parse(field, text) {
  const typed = field.type === "list" || field.type === "map" ? text : text.trim();
  if (typed.trim() === "") return empty(field);
  if (field.auto && typed.toLowerCase() === "auto") return { value: "auto", fault: null };
  if (field.type === "number" || field.type === "integer") return parseNumber(field, typed);
  if (field.type === "list") return parseList(field, typed);
  if (field.type === "map") return parseMap(typed);
  return { value: typed, fault: null };
}

function empty(field) {
  if (field.nullable) return { value: null, fault: null };
  if (field.type === "list") return { value: [], fault: null };
  return { value: field.preset, fault: field.preset === null ? t("start.fault.empty") : null };
}

function parseNumber(field, typed) {
  const value = Number(typed.replace(/_/g, ""));
  if (!Number.isFinite(value)) return { value: typed, fault: t(field.auto ? "start.fault.number_auto" : "start.fault.number") };
  if (field.type === "integer" && !Number.isInteger(value)) return { value, fault: t("start.fault.whole") };
  return { value, fault: outside(field, value) };
}

function outside(field, value) {
  if (field.least !== null && value < field.least) return t("start.fault.least", { bound: field.least });
  if (field.above !== null && value <= field.above) return t("start.fault.above", { bound: field.above });
  if (field.most !== null && value > field.most) return t("start.fault.most", { bound: field.most });
  if (field.below !== null && value >= field.below) return t("start.fault.below", { bound: field.below });
  return null;
}

/** One item a line; numbers also between commas, items that are lists themselves between spaces. */
function parseList(field, typed) {
  const kind = field.items?.type;
  if (kind === "number" || kind === "integer") {
    const values = typed.split(/[\s,]+/).filter(Boolean).map(Number);
    return { value: values, fault: values.every(Number.isFinite) ? null : t("start.fault.number") };
  }
  const lines = typed.split("\n").map((line) => line.replace(/\r$/, "")).filter((line) => line.trim() !== "");
  return { value: kind === "array" ? lines.map((line) => line.trim().split(/[\s,]+/)) : lines, fault: null };
}

/** `label: weight` a line; the last colon parts them, as labels may hold colons. */
function parseMap(typed) {
  const value = {};
  for (const line of typed.split("\n").filter((one) => one.trim() !== "")) {
    const at = line.lastIndexOf(":");
    const weight = Number(line.slice(at + 1));
    if (at < 1 || line.slice(at + 1).trim() === "" || !Number.isFinite(weight)) return { value: typed, fault: t("start.fault.map") };
    value[line.slice(0, at).trim()] = weight;
  }
  return { value, fault: null };
}

/** The bounds in words, for the line under a field. @param {Field} field */
export function allowed(field) {
  const parts = [];
  if (field.least !== null) parts.push(`≥ ${field.least}`);
  if (field.above !== null) parts.push(`> ${field.above}`);
  if (field.most !== null) parts.push(`≤ ${field.most}`);
  if (field.below !== null) parts.push(`< ${field.below}`);
  if (field.type === "integer") parts.unshift(t("start.whole"));
  if (field.auto) parts.push("auto");
  return parts.join(", ");
}

/**
 * Faults of a recipe by the key that they name; what names none stays at the top.
 * @param {{message: string, problems?: string[]}} error @param {Set<string>} keys
 * @returns {{byKey: Record<string, string[]>, rest: string[]}}
 */
export function faultsOf(error, keys) {
  const lines = error.problems?.length ? error.problems : String(error.message ?? "").split("\n").map((line) => line.replace(/^\s*-\s*/, ""));
  const byKey = {};
  const rest = [];
  for (const line of lines) {
    const { key, text } = keyOf(line, keys);
    if (key) (byKey[key] ??= []).push(text);
    else rest.push(line);
  }
  return { byKey, rest };
}

/** The key at the beginning of a fault: `section.name (where): text`, `section: name: text`, or a section alone. */
function keyOf(line, keys) {
  const named = line.match(/^([\w-]+(?:\.[\w-]+)*)\s*(?:\([^)]*\))?:\s*(?:([\w-]+):\s*)?(.*)$/s);
  if (!named) return { key: mentioned(line, keys), text: line };
  const [, head, name, text] = named;
  const whole = name ? `${name}: ${text}` : text;
  if (keys.has(head)) return { key: head, text: whole };
  if (name && keys.has(`${head}.${name}`)) return { key: `${head}.${name}`, text };
  const inside = mentioned(line, keys) ?? (keys.has(`${head}.name`) ? `${head}.name` : null);
  return { key: inside, text: inside === `${head}.name` ? whole : line };
}

/** The longest dotted key that a line names anywhere; words without a dot are too common to be told as keys. */
function mentioned(line, keys) {
  const found = (line.match(/[a-z][\w-]*(?:\.[a-z_][\w-]*)+/g) ?? []).filter((word) => keys.has(word));
  return found.sort((a, b) => b.length - a.length)[0] ?? null;
}
