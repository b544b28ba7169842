// A change of the recipe: what stands there now, and what would stand there.
import { html } from "../../lib/ui.js";
import { t } from "../../lib/i18n.js";

/** A value as it stands in a recipe. @param {any} value */
export function recipeValue(value) {
  if (value === undefined) return t("diff.unset");
  if (value === null) return "null";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** @param {{recipe: {key: string, value: any, origin: string}[], change: Record<string, any>}} props */
export function Diff({ recipe, change }) {
  const now = new Map((recipe ?? []).map((entry) => [entry.key, entry.value]));
  return html`<div class="diff" role="group" aria-label=${t("finding.change")}>${Object.entries(change).map(([key, value]) => {
    const old = now.has(key) ? now.get(key) : now.get(key.replace(/\.name$/, ""));
    return html`<div key=${key} class="diff-entry"><code class="diff-key">${key}</code>
      <del class="diff-old"><span class="visually-hidden">${t("diff.old")} </span>${recipeValue(old)}</del>
      <span class="muted" aria-hidden="true">→</span>
      <ins class="diff-new"><span class="visually-hidden">${t("diff.new")} </span>${recipeValue(value)}</ins></div>`;
  })}</div>`;
}
