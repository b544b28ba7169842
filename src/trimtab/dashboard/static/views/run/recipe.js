// Every value of the recipe with where it came from.
import { html, useMemo, useState } from "../../lib/ui.js";
import { download, useStored } from "../../lib/dom.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../components/Button.js";
import { Toggle } from "../../components/Toggle.js";
import { recipeValue } from "./diff.js";

/** @param {{run: object}} props */
export function Recipe({ run }) {
  const all = run.detail.recipe ?? [];
  const [words, setWords] = useState("");
  const [changed, setChanged] = useStored("run.recipe.changed", false);
  const shown = useMemo(() => {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    return all.filter((entry) => (!changed || !isDefault(entry)) && wanted.every((word) => `${entry.key} ${recipeValue(entry.value)} ${entry.origin}`.toLowerCase().includes(word)));
  }, [all, words, changed]);
  const sections = useMemo(() => bySection(shown), [shown]);
  if (!all.length) return html`<p class="empty">${t("recipe.none")}</p>`;
  const save = () => download(`${run.summary.name}-recipe.json`, JSON.stringify(Object.fromEntries(all.map(({ key, value }) => [key, value])), null, 2), "application/json");
  return html`<section class="recipe" aria-label=${t("run.tab.recipe")}>
    <div class="recipe-bar">
      <input type="search" aria-label=${t("recipe.search")} placeholder=${t("recipe.search")} value=${words} onInput=${(event) => setWords(event.currentTarget.value)} />
      <${Toggle} label=${t("recipe.changed")} on=${changed} onChange=${setChanged} />
      <span class="muted small" role="status">${t("recipe.count", { n: shown.length, of: all.length })}</span>
      <${Button} onClick=${save}>${t("recipe.save")}<//>
    </div>
    ${!shown.length && html`<p class="empty">${t("recipe.nothing")}</p>`}
    <div class="recipe-sections">${sections.map(([name, entries]) => html`<section key=${name} class="card recipe-section"><h2>${name}</h2>
      <table class="table recipe-table"><colgroup><col class="recipe-key" /><col /><col style=${{ width: "22%" }} /></colgroup><thead class="visually-hidden"><tr><th scope="col">${t("recipe.key")}</th><th scope="col">${t("recipe.value")}</th><th scope="col">${t("recipe.origin")}</th></tr></thead>
      <tbody>${entries.map((entry) => html`<tr key=${entry.key} class=${isDefault(entry) ? "is-default" : ""}><th scope="row"><code>${entry.key}</code></th>
        <td class="mono">${recipeValue(entry.value)}</td><td>${origin(entry.origin)}</td></tr>`)}</tbody></table></section>`)}</div>
  </section>`;
}

function isDefault({ origin: from }) {
  return !from || from === "default" || from.startsWith("default:");
}

/** "inferred: reason" as a word and its reason. */
function origin(text) {
  const [, word, reason] = String(text ?? "default").match(/^([\w -]+?)(?::\s*(.*))?$/s) ?? [null, text, null];
  const key = `origin.${word}`;
  const name = t(key) === key ? word : t(key);
  return html`<span class=${`origin origin-${word === "default" ? "default" : "set"}`}>${name}</span>${reason && html`<span class="muted small">${reason}</span>`}`;
}

function bySection(entries) {
  const sections = new Map();
  for (const entry of entries) {
    const name = entry.key.includes(".") ? entry.key.split(".")[0] : ENTRY_OF[entry.key] ?? entry.key;
    if (!sections.has(name)) sections.set(name, []);
    sections.get(name).push(entry);
  }
  return [...sections];
}

const ENTRY_OF = { seed: "run", output: "run", run: "run" };
