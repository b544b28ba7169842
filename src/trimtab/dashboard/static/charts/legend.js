// The lines of a chart by name, with their values under the cursor (else their last ones). A click hides a line.
import { html, useEffect, useRef } from "../lib/ui.js";
import { t } from "../lib/i18n.js";
import { resolve } from "./colors.js";
import { nearest } from "./data.js";
import { tickText } from "./options.js";

/**
 * The values are written straight into the page at each move of the mouse: the chart itself is not rendered again.
 * @param {{lines: object[], prepared: object, hidden: Set<string>, toggle: (label: string) => void,
 *   axisText: (x: number) => string, axis: string, update: {current: ((i: number | null) => void) | null}}} props
 */
export function Legend({ lines, prepared, hidden, toggle, axisText, axis, update }) {
  const cells = useRef([]);
  const head = useRef(null);
  const write = (hovered) => {
    const { x, raw, shown } = prepared;
    const i = hovered === null ? x.length - 1 : Math.min(hovered, x.length - 1);
    if (head.current) head.current.textContent = i >= 0 ? `${t(`axis.${axis}`)} ${axisText(x[i])}` : "";
    lines.forEach((line, k) => {
      if (!cells.current[k]) return;
      const at = i < 0 ? null : nearest(x, raw[k], i);
      const smoothed = at !== null && shown[k][at] !== raw[k][at] && Number.isFinite(shown[k][at]);
      cells.current[k].textContent = at === null ? "–" : reading(raw[k][at]) + (smoothed ? ` (~${reading(shown[k][at])})` : "");
    });
  };
  useEffect(() => {
    update.current = write;
    write(null);
  });
  return html`<div class="legend">
    <span class="legend-x" ref=${head}></span>
    ${lines.map((line, k) => html`<button type="button" key=${line.label} class=${`legend-item${hidden.has(line.label) ? " is-hidden" : ""}`}
        aria-pressed=${!hidden.has(line.label)} title=${t("chart.toggle", { name: line.label })} onClick=${() => toggle(line.label)}>
      <svg width="16" height="8" aria-hidden="true"><line x1="0" y1="4" x2="16" y2="4" stroke=${resolve(line.color, k)}
        stroke-width=${line.width === 1 ? 1.5 : 2.5} stroke-dasharray=${line.dash?.join(" ")} /></svg>
      <span>${line.label}</span> <output class="legend-value" ref=${(element) => { cells.current[k] = element; }}></output>
    </button>`)}
  </div>`;
}

/** Four digits that matter. @param {number} value */
export function reading(value) {
  const size = Math.abs(value);
  if (size >= 1e5 || (size < 1e-3 && size > 0)) return tickText(value);
  return String(Number(value.toPrecision(4)));
}
