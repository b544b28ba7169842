// Sentences of the record (findings, remedies, verdicts) in the page's language. They are written in English, with the
// template that they were made from beside them, and the catalogue knows a sentence by that.
import { language } from "./i18n.js";
import { zh as data } from "../text/zh/data.js";
import { zh as outcome } from "../text/zh/findings_outcome.js";
import { zh as training } from "../text/zh/findings_training.js";
import { zh as results } from "../text/zh/results.js";

/** @typedef {{template: string, values: Record<string, string | Said>}} Said what a sentence was made of */

const catalogues = { zh: { ...training, ...outcome, ...data, ...results } };
const MOST_NESTED = 12;
const BLANK = /\{\{|\}\}|\{(\w+)\}/g; // and braces that are meant, which are written twice

/**
 * @param {string} text as the record has it @param {Said} [said] what it was made of
 * @returns {string} in the page's language; the text itself where no translation is known, as of an older record
 */
export function sentence(text, said) {
  const isWanted = language() in catalogues && said && typeof said === "object";
  return (isWanted ? translated(said, MOST_NESTED) : null) ?? text;
}

/** A word or phrase of the record that is made of nothing, as the name of a curve. @param {string} text */
export function phrase(text) {
  return known(text) ?? text;
}

/** The same of several, with commas between them. @param {string} text */
export function phrases(text) {
  const found = String(text ?? "").split(", ");
  const told = found.map(known);
  return told.every(Boolean) ? told.join("；") : text;
}

/** What the catalogue has for a template, if anything. @param {string} template @returns {string | undefined} */
function known(template) {
  const catalogue = catalogues[language()];
  return catalogue && Object.hasOwn(catalogue, template) ? catalogue[template] : undefined;
}

function translated(said, depth) {
  if (typeof said === "string") return said;
  const { template, values } = said ?? {};
  if (!depth || typeof template !== "string" || typeof values !== "object" || values === null) return null;
  const into = joined(template) ?? known(template);
  if (typeof into !== "string") return null;
  const told = {};
  for (const [, name] of into.matchAll(BLANK)) {
    if (name === undefined) continue;
    told[name] = Object.hasOwn(values, name) ? translated(values[name], depth - 1) : null;
    if (told[name] === null) return null;
  }
  return into.replace(BLANK, (whole, name) => (name === undefined ? whole[0] : told[name]));
}

/** Sentences, or parts of one, that were put together have nothing to translate but what is between them. */
function joined(template) {
  if (!template.includes("{") || /[^, ]/.test(template.replace(BLANK, ""))) return null;
  return template.replaceAll(", ", "，").replaceAll(" ", "");
}
