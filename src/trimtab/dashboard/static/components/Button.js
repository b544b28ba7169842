import { html } from "../lib/ui.js";

/**
 * A button; with `href` a link that looks like one.
 * @param {{kind?: "plain" | "primary" | "danger" | "quiet" | "icon", label?: string, busy?: boolean, disabled?: boolean,
 *   href?: string, onClick?: (event: Event) => void, title?: string, pressed?: boolean, type?: string, class?: string}} props
 *   label: what screen readers say (wanted where the content is a sign); pressed: for buttons that stay down
 */
export function Button({ kind = "plain", label, busy, disabled, pressed, href, children, class: extra = "", type = "button", ...rest }) {
  const name = `button button-${kind} ${busy ? "is-busy" : ""} ${extra}`;
  const hint = rest.title ?? (kind === "icon" ? label : undefined);
  if (href && !disabled) return html`<a ...${rest} class=${name} href=${href} aria-label=${label} title=${hint}>${children}</a>`;
  return html`<button ...${rest} type=${type} class=${name} aria-label=${label} title=${hint} aria-pressed=${pressed}
    aria-busy=${busy ? "true" : undefined} disabled=${disabled || busy}>${children}</button>`;
}
