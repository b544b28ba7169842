import { html } from "../lib/ui.js";
import { known, t } from "../lib/i18n.js";

/** A finding's name in words. @param {string} name for example "suspect_labels" */
export function findingName(name) {
  return known(`finding.${name}`) ? t(`finding.${name}`) : String(name ?? "").replaceAll("_", " ");
}

const SIGNS = {
  preparing: "◔", running: "▶", evaluating: "▶", finishing: "▶", paused: "Ⅱ",
  finished: "✓", stopped: "■", failed: "!", crashed: "✕", foreign: "↗",
};

/** A run's state, told by word and sign, not by colour alone. @param {{state: string, title?: string}} props */
export function StateBadge({ state, title }) {
  const word = known(`state.${state}`) ? t(`state.${state}`) : state;
  return html`<span class="badge state-${state}" title=${title}><span class="badge-sign" aria-hidden="true">${SIGNS[state] ?? "·"}</span>${word}</span>`;
}

/**
 * A finding's severity; with `count` how many there are of it.
 * @param {{severity: "info" | "warning" | "act" | "refuse", count?: number, text?: string, title?: string}} props
 *   text: in place of the severity's word
 */
export function SeverityBadge({ severity, count, text, title }) {
  const word = t(`severity.${severity}`);
  const sign = html`<span class="severity-sign" aria-hidden="true"></span>`;
  if (count !== undefined) {
    return html`<span class="severity severity-${severity} severity-count" title=${title ?? word}>${sign}${count}<span class="visually-hidden"> ${word}</span></span>`;
  }
  return html`<span class="severity severity-${severity}" title=${title}>${sign}${text ?? word}${text && html`<span class="visually-hidden"> (${word})</span>`}</span>`;
}

/** A small word on a plain ground, for tags. @param {{onClick?: () => void, title?: string}} props */
export function Tag({ children, onClick, title }) {
  if (!onClick) return html`<span class="tag" title=${title}>${children}</span>`;
  return html`<button type="button" class="tag tag-button" title=${title} onClick=${onClick}>${children}</button>`;
}
