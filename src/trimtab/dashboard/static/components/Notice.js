import { html } from "../lib/ui.js";
import { t } from "../lib/i18n.js";
import { sentence } from "../lib/said.js";
import { Button } from "./Button.js";

/**
 * A message in the page. An error that the server gave shows its remedy too.
 * @param {{kind?: "info" | "good" | "warning" | "error", title?: string, error?: {message: string, remedy?: string} | null,
 *   onClose?: () => void, onRetry?: () => void}} props
 */
export function Notice({ kind, title, error, onClose, onRetry, children }) {
  const shown = kind ?? (error ? "error" : "info");
  return html`<div class="notice notice-${shown}" role=${shown === "error" ? "alert" : "status"}>
    <div class="notice-text">
      ${title && html`<strong>${title}</strong>`}
      ${error && html`<p>${error.message}</p>`}
      ${error?.remedy && html`<p class="notice-remedy"><span>${t("remedy")}:</span> <${Words} text=${error.remedy} /></p>`}
      ${children}
    </div>
    ${onRetry && html`<${Button} onClick=${onRetry}>${t("retry")}<//>`}
    ${onClose && html`<${Button} kind="icon" label=${t("close")} onClick=${onClose}><span aria-hidden="true">×</span><//>`}
  </div>`;
}

/**
 * Text in which `backquotes` mark what is typed.
 * @param {{text: string, said?: import("../lib/said.js").Said}} props said: of a sentence of the record, for other languages
 */
export function Words({ text, said }) {
  return String(sentence(text, said) ?? "").split("`").map((part, i) => (i % 2 ? html`<code key=${i}>${part}</code>` : part));
}

/** What is shown while something is asked for. @param {{label?: string}} props */
export function Waiting({ label }) {
  return html`<p class="waiting" role="status"><span class="waiting-sign" aria-hidden="true"></span>${label ?? t("loading")}</p>`;
}
