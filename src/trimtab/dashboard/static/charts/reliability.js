// The reliability diagram: how often the model is right, by how sure it says to be.
import { html } from "../lib/ui.js";
import { number, percent } from "../lib/format.js";
import { cssColor } from "../lib/dom.js";
import { register, t } from "../lib/i18n.js";
import * as text from "../text/charts.js";
import { needCss } from "./css.js";
import { ExportMenu, csv, paper } from "./export.js";
import { escaped } from "./svg.js";

register(text);
await needCss("css/charts.css");

const [SIDE, LEFT, TOP, HIST] = [240, 46, 12, 52];
const [WIDTH, HEIGHT] = [LEFT + SIDE + 14, TOP + SIDE + 34 + HIST + 10];

/** @param {{bins: {low: number, high: number, confidence: number, accuracy: number, rows: number}[], ece: number | null}} props */
export function Reliability({ bins, ece }) {
  const filled = bins.filter((bin) => bin.rows > 0);
  const title = t("reliability.title");
  const most = Math.max(...filled.map((bin) => bin.rows), 1);
  const files = () => ({
    svg: () => standalone(title, filled, most),
    csv: () => csv([["low", "high", "confidence", "accuracy", "rows"], ...bins.map((bin) => [bin.low, bin.high, bin.confidence, bin.accuracy, bin.rows])]),
  });
  const px = (share) => LEFT + share * SIDE;
  const py = (share) => TOP + (1 - share) * SIDE;
  const base = TOP + SIDE + 30 + HIST;
  return html`<figure class="chart reliability" role="group" aria-label=${title}>
    <figcaption class="chart-head"><div><h3>${title}</h3><p class="chart-note">${Number.isFinite(ece) ? t("reliability.ece", { ece: number(ece, 3) }) : ""} ${meaning(filled)}</p></div>
      <${ExportMenu} title=${title} files=${files} kinds=${["svg", "csv"]} /></figcaption>
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${`${title}. ${filled.map((bin) => describe(bin)).join(". ")}`}>
      ${[0, 0.25, 0.5, 0.75, 1].map((tick) => html`<g key=${tick}>
        <line class="grid" x1=${LEFT} x2=${LEFT + SIDE} y1=${py(tick)} y2=${py(tick)} />
        <text class="tick" x=${LEFT - 6} y=${py(tick) + 4} text-anchor="end">${percent(tick, 0)}</text>
        <text class="tick" x=${px(tick)} y=${TOP + SIDE + 15} text-anchor="middle">${percent(tick, 0)}</text></g>`)}
      <line class="diagonal" x1=${px(0)} y1=${py(0)} x2=${px(1)} y2=${py(1)} />
      ${filled.map((bin) => html`<g key=${bin.low}><title>${describe(bin)}</title>
        <rect class="reliability-bar" x=${px(bin.low) + 1} width=${Math.max((bin.high - bin.low) * SIDE - 2, 1)} y=${py(bin.accuracy)} height=${bin.accuracy * SIDE} />
        <line class=${bin.confidence > bin.accuracy ? "reliability-over" : "reliability-under"} x1=${px(bin.confidence)} x2=${px(bin.confidence)} y1=${py(bin.accuracy)} y2=${py(bin.confidence)} />
        <circle class="reliability-point" cx=${px(bin.confidence)} cy=${py(bin.accuracy)} r="3" />
        <rect class="reliability-count" x=${px(bin.low) + 1} width=${Math.max((bin.high - bin.low) * SIDE - 2, 1)} y=${base - (bin.rows / most) * HIST} height=${(bin.rows / most) * HIST} /></g>`)}
      <text class="tick" x=${LEFT + SIDE} y=${base + 9} text-anchor="end">${t("reliability.x")}</text>
      <text class="tick" x=${LEFT - 6} y=${base - HIST + 8} text-anchor="end">${most}</text>
      <text class="tick" transform=${`translate(10 ${TOP + SIDE / 2}) rotate(-90)`} text-anchor="middle">${t("reliability.y")}</text>
    </svg>
  </figure>`;
}

function describe(bin) {
  return t("reliability.bin", { low: percent(bin.low, 0), high: percent(bin.high, 0), accuracy: percent(bin.accuracy, 0), n: bin.rows });
}

/** In words: surer than right, or the other way. */
function meaning(bins) {
  const rows = bins.reduce((sum, bin) => sum + bin.rows, 0);
  if (!rows) return "";
  const excess = bins.reduce((sum, bin) => sum + bin.rows * (bin.confidence - bin.accuracy), 0) / rows;
  if (Math.abs(excess) < 0.02) return t("reliability.even");
  return t(excess > 0 ? "reliability.over" : "reliability.under", { points: number(100 * Math.abs(excess), 2) });
}

function standalone(title, bins, most) {
  const ink = paper();
  const [accent, bad] = [cssColor("--series-1"), cssColor("--bad")];
  const px = (share) => LEFT + share * SIDE;
  const py = (share) => 30 + TOP + (1 - share) * SIDE;
  const label = (x, y, content, anchor = "middle") => `<text x="${x}" y="${y}" font-size="11" text-anchor="${anchor}" fill="${escaped(ink.muted)}">${escaped(content)}</text>`;
  const base = 30 + TOP + SIDE + 30 + HIST;
  const parts = [
    `<rect width="${WIDTH}" height="${HEIGHT + 34}" fill="${escaped(ink.ground)}"/>`,
    `<text x="${LEFT}" y="22" font-size="14" fill="${escaped(ink.ink)}">${escaped(title)}</text>`,
    ...[0, 0.25, 0.5, 0.75, 1].map((tick) => label(LEFT - 6, py(tick) + 4, percent(tick, 0), "end") + label(px(tick), 30 + TOP + SIDE + 15, percent(tick, 0))),
    `<line x1="${px(0)}" y1="${py(0)}" x2="${px(1)}" y2="${py(1)}" stroke="${escaped(ink.muted)}" stroke-dasharray="4 4"/>`,
    ...bins.map((bin) => `<g><title>${escaped(describe(bin))}</title><rect x="${px(bin.low) + 1}" y="${py(bin.accuracy)}" width="${Math.max((bin.high - bin.low) * SIDE - 2, 1)}" height="${bin.accuracy * SIDE}" fill="${accent}" opacity="0.35"/><circle cx="${px(bin.confidence)}" cy="${py(bin.accuracy)}" r="3" fill="${bad}"/><rect x="${px(bin.low) + 1}" y="${base - (bin.rows / most) * HIST}" width="${Math.max((bin.high - bin.low) * SIDE - 2, 1)}" height="${(bin.rows / most) * HIST}" fill="${escaped(ink.muted)}" opacity="0.5"/></g>`),
    label(LEFT + SIDE, base + 12, t("reliability.x"), "end"),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT + 34}" viewBox="0 0 ${WIDTH} ${HEIGHT + 34}" font-family="system-ui, sans-serif"><title>${escaped(title)}</title>${parts.join("")}</svg>\n`;
}
