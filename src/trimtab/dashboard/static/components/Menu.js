import { useDismiss } from "../lib/dom.js";
import { html, useLayoutEffect, useRef, useState } from "../lib/ui.js";

/**
 * A button that opens a box below it. Escape and a click elsewhere close it; Escape gives the focus back.
 * @param {{label: any, name?: string, active?: boolean, end?: boolean, class?: string}} props
 *   name: for screen readers, where the label is not text; active: marked as in use; end: the box ends where the
 *   button ends. children: what the box holds, or a function of `close`
 */
export function Menu({ label, name, active, end, children, class: extra = "" }) {
  const [open, setOpen] = useState(false);
  const root = useRef(null);
  const close = () => setOpen(false);
  const key = useDismiss(root, open, close);
  useLayoutEffect(() => {
    if (open) place(root.current);
  }, [open]);
  return html`<div class="menu ${end ? "menu-end" : ""} ${extra}" ref=${root} onKeyDown=${key}>
    <button type="button" class="button menu-button ${active ? "is-active" : ""}" aria-label=${name} aria-expanded=${open ? "true" : "false"}
      onClick=${() => setOpen(!open)}>${label}<span class="menu-sign" aria-hidden="true">▾</span></button>
    ${open && html`<div class="menu-box">${typeof children === "function" ? children({ close }) : children}</div>`}
  </div>`;
}

/** Keeps the box within the page: it moves sideways by what it would stand out. */
function place(root) {
  const box = root?.querySelector(".menu-box");
  if (!box) return;
  const { left, right } = box.getBoundingClientRect();
  const edge = document.documentElement.clientWidth - 8;
  const shift = right > edge ? edge - right : left < 8 ? 8 - left : 0;
  if (shift) box.style.translate = `${shift}px 0`;
}

/**
 * Boxes to tick, with a search where they are many.
 * @param {{options: {value: string, label: string, count?: number}[], chosen: string[], onChange: (chosen: string[]) => void,
 *   search?: string, label: string}} props  search: the placeholder of the search field
 */
export function Ticks({ options, chosen, onChange, search, label }) {
  const [text, setText] = useState("");
  const shown = options.filter((option) => option.label.toLowerCase().includes(text.toLowerCase()));
  const toggle = (value, on) => onChange(on ? [...chosen, value] : chosen.filter((other) => other !== value));
  return html`<div role="group" aria-label=${label}>
    ${options.length > 8 && html`<input type="search" class="menu-search" placeholder=${search} aria-label=${search} value=${text} onInput=${(event) => setText(event.currentTarget.value)} />`}
    ${shown.slice(0, 200).map((option) => html`<label key=${option.value} class="menu-option">
      <input type="checkbox" checked=${chosen.includes(option.value)} onChange=${(event) => toggle(option.value, event.currentTarget.checked)} />
      <span class="cut" title=${option.label}>${option.label}</span>
      ${option.count !== undefined && html`<span class="count">${option.count}</span>`}
    </label>`)}
  </div>`;
}
