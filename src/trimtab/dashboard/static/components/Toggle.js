import { html } from "../lib/ui.js";

/**
 * A switch for on and off.
 * @param {{label: string, on: boolean, onChange: (on: boolean) => void, disabled?: boolean, hint?: string}} props
 */
export function Toggle({ label, on, onChange, disabled, hint }) {
  return html`<label class="toggle" title=${hint}>
    <input type="checkbox" role="switch" checked=${on} disabled=${disabled} onChange=${(event) => onChange(event.currentTarget.checked)} />
    <span class="toggle-track" aria-hidden="true"></span>
    <span>${label}</span>
  </label>`;
}

/**
 * One of a few, side by side.
 * @param {{label: string, value: string, options: {id: string, label: string, title?: string}[],
 *   onChange: (id: string) => void}} props
 */
export function Choice({ label, value, options, onChange }) {
  return html`<div class="choice" role="group" aria-label=${label}>
    ${options.map((option) => html`<button key=${option.id} type="button" class="choice-option" title=${option.title}
      aria-pressed=${option.id === value ? "true" : "false"} onClick=${() => onChange(option.id)}>${option.label}</button>`)}
  </div>`;
}
