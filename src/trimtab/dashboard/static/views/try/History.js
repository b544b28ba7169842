import { html, useEffect, useState } from "../../lib/ui.js";
import { t } from "../../lib/i18n.js";
import { percent } from "../../lib/format.js";
import { Button } from "../../components/Button.js";
import { shown } from "./Answer.js";

const KEPT = 30;

/**
 * What was asked of a run's model before, the newest first; kept until the browser's tab is closed.
 * @param {string} id of the run @returns {[any[], (answers: any[]) => void, () => void]}
 */
export function useHistory(id) {
  const name = `trimtab.try.${id}`;
  const [items, setItems] = useState(() => read(name));
  useEffect(() => setItems(read(name)), [name]);
  const write = (next) => {
    setItems(next);
    try {
      sessionStorage.setItem(name, JSON.stringify(next));
    } catch {
      // Where storage is forbidden the history holds until the page is left.
    }
  };
  const remember = (answers) => {
    const added = answers.map(({ input, prediction }) => ({ input, label: prediction.label, probability: prediction.probability }));
    const texts = new Set(added.map(({ input }) => shown(input)));
    write([...added, ...read(name).filter(({ input }) => !texts.has(shown(input)))].slice(0, KEPT));
  };
  return [items, remember, () => write([])];
}

function read(name) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(name));
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
}

/** @param {{items: any[], onAgain: ((input: any) => void) | null, onClear: () => void}} props */
export function History({ items, onAgain, onClear }) {
  if (!items.length) return null;
  return html`<section class="card try-history" aria-label=${t("try.history")}>
    <div class="try-history-head"><h2>${t("try.history")}</h2><${Button} kind="quiet" onClick=${onClear}>${t("try.clear")}<//></div>
    <ul>${items.map(({ input, label, probability }, i) => html`<li key=${`${i} ${shown(input)}`}>
      ${onAgain ? html`<button type="button" class="try-again cut" title=${t("try.again")} onClick=${() => onAgain(input)}>${shown(input)}</button>` : html`<span class="cut">${shown(input)}</span>`}
      <span><strong>${label}</strong> <span class="muted">${percent(probability)}</span></span></li>`)}</ul>
  </section>`;
}
