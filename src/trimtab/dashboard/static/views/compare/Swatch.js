import { html } from "../../lib/ui.js";

/** A sample of a run's line. @param {{look: {color: string, dash?: number[]}}} props */
export function Swatch({ look }) {
  return html`<svg class="swatch" width="20" height="10" aria-hidden="true"><line x1="1" y1="5" x2="19" y2="5" stroke=${`var(${look.color})`}
    stroke-width="3" stroke-dasharray=${look.dash?.join(" ")} /></svg>`;
}
