import { html, useMemo, useState } from "../lib/ui.js";

/**
 * A small table (some hundred rows) whose columns sort by a click on their head: first one way, then the other.
 * @param {{columns: {id: string, label: string, value?: (row: any) => any, cell?: (row: any) => any, numeric?: boolean,
 *   sortable?: boolean, class?: string}[], rows: any[], rowKey?: (row: any, index: number) => string, caption?: string,
 *   sort?: {by: string, down: boolean} | null, onSort?: (sort: {by: string, down: boolean}) => void,
 *   onRow?: (row: any) => void, empty?: any}} props
 *   value: what is sorted by (and shown, without `cell`); sort and onSort: given where the owner keeps the order
 */
export function Table({ columns, rows, rowKey = (_, i) => i, caption, sort, onSort, onRow, empty }) {
  const [own, setOwn] = useState(null);
  const order = sort === undefined ? own : sort;
  const shown = useMemo(() => sorted(rows, columns.find(({ id }) => id === order?.by), order?.down), [rows, columns, order?.by, order?.down]);
  if (!rows.length && empty) return html`<p class="empty-line">${empty}</p>`;
  return html`<div class="table-scroll" tabindex="0" role="region" aria-label=${caption}>
    <table class="table">
      ${caption && html`<caption class="visually-hidden">${caption}</caption>`}
      <thead><tr>${columns.map((column) => html`<${Head} key=${column.id} column=${column} order=${order} onSort=${onSort ?? setOwn} />`)}</tr></thead>
      <tbody>${shown.map((row, i) => html`<tr key=${rowKey(row, i)} class=${onRow ? "table-row-button" : ""} onClick=${onRow && (() => onRow(row))}>
        ${columns.map((column) => html`<td key=${column.id} class="${column.numeric ? "numeric" : ""} ${column.class ?? ""}">
          ${column.cell ? column.cell(row) : valueOf(column, row)}</td>`)}
      </tr>`)}</tbody>
    </table>
  </div>`;
}

function Head({ column, order, onSort }) {
  const mine = order?.by === column.id;
  const numeric = column.numeric ? "numeric" : "";
  if (column.sortable === false) return html`<th scope="col" class=${numeric}>${column.label}</th>`;
  const turn = () => onSort({ by: column.id, down: mine ? !order.down : Boolean(column.numeric) });
  return html`<th scope="col" class=${numeric} aria-sort=${mine ? (order.down ? "descending" : "ascending") : undefined}>
    <button type="button" class="sort" onClick=${turn}>${column.label}<span class="sort-sign" aria-hidden="true">${mine ? (order.down ? "↓" : "↑") : ""}</span></button>
  </th>`;
}

function valueOf(column, row) {
  return column.value ? column.value(row) : row[column.id];
}

const missing = (x) => x === null || x === undefined || x === "" || Number.isNaN(x);

/**
 * Rows by a column's value; what is missing stays at the end either way, and equals keep their order.
 * @template T @param {T[]} rows @param {{id: string, value?: (row: T) => any} | undefined} column @param {boolean} [down]
 * @returns {T[]}
 */
export function sorted(rows, column, down = false) {
  if (!column) return rows;
  const keyed = rows.map((row, i) => [valueOf(column, row), i, row]);
  keyed.sort(([a, i], [b, j]) => {
    if (missing(a) || missing(b)) return missing(a) - missing(b) || i - j;
    const order = typeof a === "number" && typeof b === "number" ? a - b : TEXT.compare(String(a), String(b));
    return (down ? -order : order) || i - j;
  });
  return keyed.map(([, , row]) => row);
}

const TEXT = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
