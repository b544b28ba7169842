// The list itself: a table, or cards where the page is narrow; drawn only where it can be seen.
import { html, useMemo, useRef } from "../../lib/ui.js";
import { plain } from "../../lib/format.js";
import { known, t } from "../../lib/i18n.js";
import { leastWidth } from "./columns.js";
import { Editor } from "./editor.js";
import { useKeptFocus } from "./focus.js";
import { Card, GroupHead, Row } from "./rows.js";
import { useWindow } from "./window.js";

const HEIGHTS = { table: { run: 50, group: 38, editor: 100 }, cards: { run: 146, group: 44, editor: 216 } }; // px, as in runs.css

/**
 * @param {{runs: object[], groups: object[] | null, query: object, context: object, narrow: boolean, editing: string | null,
 *   onEdit: (id: string | null) => void, folded: Set<string>, onFold: (change: any) => void, onSort: (sort: object) => void, tags: string[], control: object}} props
 *   runs: sorted; groups: in place of runs; control: is given `reveal(id)` and `order` (ids as they stand)
 */
export function List({ runs, groups, query, context, narrow, editing, onEdit, folded, onFold, onSort, tags, control }) {
  const box = useRef(null);
  const body = useRef(null);
  const heights = narrow ? HEIGHTS.cards : HEIGHTS.table;
  const items = useMemo(() => itemsOf(runs, groups, folded, editing, heights), [runs, groups, folded, editing, heights]);
  const order = JSON.stringify([query.sort, query.group, query.text, query.facets, query.archived, narrow]);
  const shown = useWindow(body, items, () => (narrow ? document.scrollingElement : box.current), order);
  useKeptFocus(box);
  control.reveal = shown.reveal;
  control.order = items.filter(({ run, kind }) => run && kind === "run").map(({ run }) => run.id);

  const toggle = (key) => onFold((old) => {
    const next = new Set(old);
    if (!next.delete(key)) next.add(key);
    return next;
  });
  const part = (item, i) => {
    if (item.kind === "editor") return html`<${Editor} run=${item.run} tags=${tags} onClose=${() => onEdit(null)} />`;
    return html`<${GroupHead} group=${item.group} label=${groupLabel(query.group)} closed=${folded.has(item.group.key)} onToggle=${() => toggle(item.group.key)}
      chosen=${item.group.runs.every(({ id }) => context.chosen.has(id))} onChoose=${(on) => item.group.runs.forEach(({ id }) => context.choose(id, on, false))} />`;
  };
  const drawn = items.slice(shown.first, shown.last);

  if (narrow) {
    return html`<ul class="list list-cards" ref=${(element) => { box.current = element; body.current = element; }} aria-label=${t("runs.title")}>
      ${shown.before > 0 && html`<li key="before" aria-hidden="true" class="list-space" style=${{ height: `${shown.before}px` }}></li>`}
      ${drawn.map((item) => (item.kind === "run" ? html`<${Card} key=${item.key} run=${item.run} context=${context} />`
        : html`<li key=${item.key} class="list-${item.kind}">${part(item)}</li>`))}
      ${shown.after > 0 && html`<li key="after" aria-hidden="true" class="list-space" style=${{ height: `${shown.after}px` }}></li>`}
    </ul>`;
  }
  const span = context.columns.length + 3;
  return html`<div class="list list-table" ref=${box} tabindex="0" role="region" aria-label=${t("runs.title")}>
    <table class="runs" style=${{ minWidth: `${leastWidth(context.columns)}px` }} aria-rowcount=${items.length + 1}>
      <colgroup><col style=${{ width: "38px" }} /><col />${context.columns.map((column) => html`<col key=${column.id} style=${{ width: `${column.width}px` }} />`)}<col style=${{ width: "38px" }} /></colgroup>
      <${Head} context=${context} query=${query} onSort=${onSort} runs=${runs} />
      <tbody ref=${body}>
        ${shown.before > 0 && html`<tr key="before" aria-hidden="true"><td class="list-space" colspan=${span} style=${{ height: `${shown.before}px` }}></td></tr>`}
        ${drawn.map((item, i) => (item.kind === "run" ? html`<${Row} key=${item.key} run=${item.run} context=${context} index=${shown.first + i} />`
          : html`<tr key=${item.key} class="list-${item.kind}" aria-rowindex=${shown.first + i + 2}><td colspan=${span}>${part(item)}</td></tr>`))}
        ${shown.after > 0 && html`<tr key="after" aria-hidden="true"><td class="list-space" colspan=${span} style=${{ height: `${shown.after}px` }}></td></tr>`}
      </tbody>
    </table>
  </div>`;
}

/** What a group is called by. @param {string} group of the query */
export function groupLabel(group) {
  if (group.startsWith("key:")) return group.slice(4);
  return known(`runs.column.${group}`) ? t(`runs.column.${group}`) : plain(group);
}

function Head({ context, query, onSort, runs }) {
  const all = runs.length > 0 && runs.every(({ id }) => context.chosen.has(id));
  const columns = [{ id: "name", label: t("runs.column.name") }, ...context.columns];
  return html`<thead><tr aria-rowindex="1">
    <th scope="col" class="cell-choose"><label class="choose"><input type="checkbox" checked=${all} aria-label=${t("runs.choose.all")}
      onChange=${(event) => context.chooseAll(event.currentTarget.checked)} /></label></th>
    ${columns.map((column) => {
      const mine = query.sort.by === column.id;
      const turn = () => onSort({ by: column.id, down: mine ? !query.sort.down : Boolean(column.down) });
      return html`<th key=${column.id} scope="col" class=${column.numeric ? "numeric" : ""} aria-sort=${mine ? (query.sort.down ? "descending" : "ascending") : undefined}>
        <button type="button" class="sort cut" title=${column.label} onClick=${turn}>${column.label}<span class="sort-sign" aria-hidden="true">${mine ? (query.sort.down ? "↓" : "↑") : ""}</span></button></th>`;
    })}
    <th scope="col" class="cell-edit"><span class="visually-hidden">${t("runs.edit")}</span></th>
  </tr></thead>`;
}

function itemsOf(runs, groups, folded, editing, heights) {
  const rows = (some, prefix = "") => some.flatMap((run) => {
    const row = { kind: "run", key: `${prefix}${run.id}`, run, height: heights.run };
    return run.id === editing ? [row, { kind: "editor", key: `editor:${run.id}`, run, height: heights.editor }] : [row];
  });
  if (!groups) return rows(runs);
  return groups.flatMap((group) => [
    { kind: "group", key: `group:${group.key}`, group, height: heights.group },
    ...(folded.has(group.key) ? [] : rows(group.runs)),
  ]);
}
