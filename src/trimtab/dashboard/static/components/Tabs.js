import { html, useRef } from "../lib/ui.js";

/**
 * Tabs as WAI-ARIA has them: arrow keys, Home and End move between them.
 * @param {{tabs: {id: string, label: string, count?: number}[], active: string, onSelect: (id: string) => void,
 *   label: string}} props
 *   children: the panel of the active tab; label: what the row of tabs is, for screen readers
 */
export function Tabs({ tabs, active, onSelect, label, children }) {
  const row = useRef(null);
  const move = (event) => {
    // From the tab that has the focus: keys may come faster than what a tab shows.
    const here = event.target.closest?.("[data-tab]")?.dataset.tab ?? active;
    const at = tabs.findIndex(({ id }) => id === here);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = tabs[(to + tabs.length) % tabs.length];
    onSelect(next.id);
    row.current?.querySelector(`[data-tab="${CSS.escape(next.id)}"]`)?.focus();
  };
  return html`
    <div class="tabs" role="tablist" aria-label=${label} ref=${row} onKeyDown=${move}>
      ${tabs.map(({ id, label: name, count }) => html`<button key=${id} type="button" role="tab" class="tab" id="tab-${id}" data-tab=${id}
        aria-selected=${id === active ? "true" : "false"} aria-controls="panel-${id}" tabindex=${id === active ? 0 : -1}
        onClick=${() => onSelect(id)}>${name}${count ? html` <span class="tab-count">${count}</span>` : ""}</button>`)}
    </div>
    <div class="tab-panel" role="tabpanel" id="panel-${active}" aria-labelledby="tab-${active}">${children}</div>`;
}
