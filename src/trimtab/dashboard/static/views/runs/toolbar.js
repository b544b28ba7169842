// Search, filters, grouping and columns.
import { html, useMemo, useRef, useState } from "../../lib/ui.js";
import { known, t } from "../../lib/i18n.js";
import { Button } from "../../components/Button.js";
import { Menu, Ticks } from "../../components/Menu.js";
import { Toggle } from "../../components/Toggle.js";
import { COLUMN_IDS } from "./columns.js";
import { FACETS, GROUPS, facetValues, filterCount } from "./query.js";

/**
 * @param {{runs: object[], shown: number, query: object, onQuery: (query: object) => void, keys: {differ: string[], same: string[]},
 *   columns: string[], onColumns: (ids: string[] | null) => void, narrow: boolean, folding: {folded: boolean, toggle: () => void} | null, search: object, onEnter: () => void, onHelp: () => void}} props
 */
export function Toolbar({ runs, shown, query, onQuery, keys, columns, onColumns, narrow, folding, search, onEnter, onHelp }) {
  const [more, setMore] = useState(false);
  const set = (fields) => onQuery({ ...query, ...fields });
  const archived = runs.filter((run) => run.archived).length;
  const count = filterCount(query);
  const folded = narrow && !more;
  return html`<div class="toolbar">
    <div class="toolbar-line">
      <h1 class="visually-hidden">${t("runs.title")}</h1>
      <${Search} text=${query.text} onText=${(text) => set({ text })} onEnter=${onEnter} input=${search} />
      ${narrow && html`<${Button} onClick=${() => setMore(!more)} aria-expanded=${more ? "true" : "false"}>${t("runs.filters")}${count ? ` (${count})` : ""}<//>`}
      ${!folded && html`<${GroupSelect} query=${query} keys=${keys} onGroup=${(group) => set({ group })} />
        ${folding && html`<${Button} onClick=${folding.toggle}>${t(folding.folded ? "runs.group.unfold" : "runs.group.fold")}<//>`}
        ${narrow && html`<${SortSelect} query=${query} onSort=${(sort) => set({ sort })} />`}`}
      ${!narrow && html`<span class="toolbar-side"><${ColumnMenu} keys=${keys} columns=${columns} onColumns=${onColumns} />
        <${Button} kind="icon" label=${t("runs.help")} onClick=${onHelp}><span aria-hidden="true">?</span><//></span>`}
    </div>
    ${!folded && html`<div class="toolbar-line toolbar-filters" role="group" aria-label=${t("runs.filters")}>
      ${Object.keys(FACETS).map((name) => html`<${Facet} key=${name} name=${name} runs=${runs} query=${query} onValues=${(values) => set({ facets: { ...query.facets, [name]: values } })} />`)}
      ${(archived > 0 || query.archived) && html`<${Toggle} label=${t("runs.archived.show", { count: archived })} on=${query.archived} onChange=${(on) => set({ archived: on })} />`}
      ${(count > 0 || query.text) && html`<${Button} kind="quiet" onClick=${() => set({ text: "", facets: Object.fromEntries(Object.keys(FACETS).map((name) => [name, []])) })}>${t("runs.clear")}<//>`}
      <span class="toolbar-count muted" role="status">${shown === runs.length ? t("runs.count", { n: shown }) : t("runs.count.of", { shown, total: runs.length })}</span>
    </div>`}
  </div>`;
}

function Search({ text, onText, onEnter, input }) {
  const timer = useRef(null);
  const [own, setOwn] = useState(null); // what is being typed; the address follows a moment later
  const change = (event) => {
    const value = event.currentTarget.value;
    setOwn(value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => { onText(value); setOwn(null); }, 120);
  };
  const key = (event) => {
    if (event.key === "Escape") event.currentTarget.blur();
    if (event.key === "Enter") onEnter();
  };
  return html`<input type="search" class="search" value=${own ?? text} placeholder=${t("runs.search")} aria-label=${t("runs.search")} ref=${input}
    onInput=${change} onKeyDown=${key} aria-keyshortcuts="/" spellcheck=${false} />`;
}

function Facet({ name, runs, query, onValues }) {
  const values = useMemo(() => facetValues(runs, query, name), [runs, query, name]);
  const chosen = query.facets[name];
  const several = useMemo(() => new Set(runs.flatMap(FACETS[name])).size > 1, [runs, name]);
  if (!chosen.length && !several) return null; // nothing to choose from
  const options = values.map(({ value, count }) => ({ value, count, label: valueLabel(name, value) }));
  const label = chosen.length === 1 ? `${t(`runs.facet.${name}`)}: ${valueLabel(name, chosen[0])}` : chosen.length ? `${t(`runs.facet.${name}`)}: ${chosen.length}` : t(`runs.facet.${name}`);
  return html`<${Menu} label=${html`<span class="cut facet-label">${label}</span>`} active=${chosen.length > 0} class="facet-${name}">
    <${Ticks} options=${options} chosen=${chosen} onChange=${onValues} search=${t("runs.facet.search")} label=${t(`runs.facet.${name}`)} />
    ${chosen.length > 0 && html`<${Button} kind="quiet" onClick=${() => onValues([])}>${t("runs.facet.all")}<//>`}
  <//>`;
}

function valueLabel(name, value) {
  if (value === "") return t("runs.group.without");
  if (name === "state" && known(`state.${value}`)) return t(`state.${value}`);
  if (name === "severity") return value === "none" ? t("runs.findings.none") : t(`severity.${value}`);
  return value;
}

function GroupSelect({ query, keys, onGroup }) {
  const options = (names) => names.map((key) => html`<option key=${key} value="key:${key}">${key}</option>`);
  return html`<label class="labelled"><span>${t("runs.group")}</span>
    <select value=${query.group} onChange=${(event) => onGroup(event.currentTarget.value)}>
      <option value="">${t("runs.group.none")}</option>
      ${GROUPS.map((name) => html`<option key=${name} value=${name}>${t(`runs.column.${name}`)}</option>`)}
      ${keys.differ.length > 0 && html`<optgroup label=${t("runs.group.differ")}>${options(keys.differ)}</optgroup>`}
      ${keys.same.length > 0 && html`<optgroup label=${t("runs.group.same")}>${options(keys.same)}</optgroup>`}
    </select></label>`;
}

/** On a narrow page there are no column heads to click. */
function SortSelect({ query, onSort }) {
  const fields = ["started", "updated", "name", "state", "value", "findings", "time", "model", "data", "strategy"];
  return html`<label class="labelled"><span>${t("runs.sort")}</span>
    <select value=${query.sort.by} onChange=${(event) => onSort({ ...query.sort, by: event.currentTarget.value })}>
      ${fields.map((id) => html`<option key=${id} value=${id}>${t(`runs.column.${id}`)}</option>`)}
    </select>
    <${Button} kind="icon" label=${t(query.sort.down ? "runs.sort.down" : "runs.sort.up")} onClick=${() => onSort({ ...query.sort, down: !query.sort.down })}>${query.sort.down ? "↓" : "↑"}<//>
  </label>`;
}

function ColumnMenu({ keys, columns, onColumns }) {
  const basic = COLUMN_IDS.map((id) => ({ value: id, label: t(`runs.column.${id}`) }));
  const recipe = [...keys.differ, ...keys.same].map((key) => ({ value: `key:${key}`, label: key }));
  return html`<${Menu} label=${t("runs.columns")} end>
    <${Button} kind="quiet" onClick=${() => onColumns(null)}>${t("runs.columns.fit")}<//>
    <${Ticks} options=${[...basic, ...recipe]} chosen=${columns} onChange=${onColumns} search=${t("runs.columns.search")} label=${t("runs.columns")} />
  <//>`;
}
