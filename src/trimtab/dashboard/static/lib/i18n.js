// The page's words in English and Chinese. Each view registers its own; a key that is missing shows itself.
import { useEffect, useState } from "../vendor/hooks.js";
import * as common from "../text/common.js";

/** @typedef {"en" | "zh"} Language */
export const LANGUAGES = { en: "English", zh: "中文" };
const STORED = "trimtab.language";
const words = { en: { ...common.en }, zh: { ...common.zh } };
const listeners = new Set();
let current = chosen();

function chosen() {
  try {
    const kept = localStorage.getItem(STORED);
    if (kept in LANGUAGES) return kept;
  } catch {
    // Storage may be forbidden; the browser's language then decides at each load.
  }
  return (navigator.languages ?? [navigator.language]).some((tag) => /^zh\b/i.test(tag)) ? "zh" : "en";
}

/** @param {{en: Record<string, string>, zh: Record<string, string>}} texts keys are the same in both */
export function register(texts) {
  Object.assign(words.en, texts.en);
  Object.assign(words.zh, texts.zh);
}

/**
 * The text of a key, with {name} replaced by vars.name. `key.one` is used in place of `key` where vars.n is 1 and such
 * a key is there.
 * @param {string} key @param {Record<string, any>} [vars] @returns {string}
 */
export function t(key, vars = {}) {
  const table = words[current];
  const text = (vars.n === 1 ? table[`${key}.one`] : undefined) ?? table[key] ?? words.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in vars ? String(vars[name]) : whole));
}

/** Whether the key is known, for texts by code of the server ("state.running"). @param {string} key */
export function known(key) {
  return key in words[current] || key in words.en;
}

/** @returns {Language} */
export function language() {
  return current;
}

/** For Intl: the locale of the language. @returns {string} */
export function locale() {
  return current === "zh" ? "zh-CN" : "en-GB";
}

/** @param {Language} next */
export function setLanguage(next) {
  if (!(next in LANGUAGES) || next === current) return;
  current = next;
  try {
    localStorage.setItem(STORED, next);
  } catch {
    // Not kept then: the choice holds for this visit.
  }
  document.documentElement.lang = locale();
  for (const listener of [...listeners]) listener(next);
}

/** @returns {[Language, (next: Language) => void]} */
export function useLanguage() {
  const [lang, follow] = useState(current);
  useEffect(() => {
    listeners.add(follow);
    return () => listeners.delete(follow);
  }, []);
  return [lang, setLanguage];
}
