// Findings and actions as buttons over the axis. Those that would lie on one another become one button with a list.
import { useDismiss } from "../lib/dom.js";
import { html, useRef, useState } from "../lib/ui.js";
import { t } from "../lib/i18n.js";

const APART = 20; // px; the width of a button
const ORDER = { act: 0, refuse: 0, warning: 1, info: 2 };

/**
 * @param {{marks: {step: number, severity: string, label: string, onClick?: () => void}[],
 *   place: (step: number) => number, view: {min: number, max: number, left: number, width: number}}} props
 */
export function Marks({ marks, place, view }) {
  const clusters = clustered(marks, place, view);
  if (!clusters.length) return null;
  return html`<div class="marks">
    ${clusters.map((cluster) => html`<${Cluster} key=${cluster.marks.map((mark) => mark.label).join("|")} ...${cluster} view=${view} />`)}
  </div>`;
}

/** Marks that stand in view, gathered where they would overlap. @returns {{at: number, marks: object[]}[]} `at` in px */
export function clustered(marks, place, view) {
  if (!(view.width > 0) || !(view.max > view.min)) return [];
  const placed = marks
    .map((mark) => ({ mark, at: view.left + ((place(mark.step) - view.min) / (view.max - view.min)) * view.width }))
    .filter(({ at }) => at >= view.left - 1 && at <= view.left + view.width + 1)
    .sort((a, b) => a.at - b.at);
  const clusters = [];
  for (const { mark, at } of placed) {
    const last = clusters.at(-1);
    if (last && at - last.at < APART) last.marks.push(mark);
    else clusters.push({ at, marks: [mark] });
  }
  for (const cluster of clusters) cluster.marks.sort((a, b) => (ORDER[a.severity] ?? 3) - (ORDER[b.severity] ?? 3));
  return clusters;
}

function Cluster({ at, marks, view }) {
  const [open, setOpen] = useState(false);
  const box = useRef(null);
  const escape = useDismiss(box, open, () => setOpen(false));
  const [first] = marks;
  const single = marks.length === 1;
  const label = marks.map((mark) => mark.label).join("; ");
  const press = () => (single ? first.onClick?.() : setOpen(!open));
  const side = at > view.left + view.width / 2 ? "right" : "left";
  return html`<div class="mark-box" ref=${box} style=${{ left: `${at}px` }} onKeyDown=${escape}>
    <button type="button" class=${`mark mark-${first.severity}`} title=${label} aria-expanded=${single ? undefined : open}
      aria-label=${single ? t("chart.mark", { label }) : t("chart.marks", { n: marks.length, label })} onClick=${press}>
      ${single ? sign(first.severity) : marks.length}
    </button>
    ${open && html`<ul class=${`mark-list mark-list-${side}`}>
      ${marks.map((mark) => html`<li><button type="button" class=${`mark-row mark-text-${mark.severity}`}
        onClick=${() => { setOpen(false); mark.onClick?.(); }}><span aria-hidden="true">${sign(mark.severity)}</span> ${mark.label}</button></li>`)}
    </ul>`}
  </div>`;
}

/** A form beside the colour, for readers who do not tell the colours apart. */
function sign(severity) {
  return { act: "!", refuse: "!", warning: "▲", info: "i" }[severity] ?? "•";
}
