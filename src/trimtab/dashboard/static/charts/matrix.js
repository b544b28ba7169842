// The confusion matrix: true labels down, predictions across, shaded by the share of each row. A cell opens its rows.
import { html, useMemo, useState } from "../lib/ui.js";
import { percent } from "../lib/format.js";
import { register, t } from "../lib/i18n.js";
import { Button } from "../components/Button.js";
import * as text from "../text/charts.js";
import { needCss } from "./css.js";
import { ExportMenu, csv } from "./export.js";

register(text);
await needCss("css/charts.css");

const MOST = 16; // labels shown at first: those with the most errors

/**
 * @param {{labels: string[], counts: number[][], onCell: (label: string, predicted: string) => void,
 *   chosen?: {label: string, predicted: string} | null}} props counts[true][predicted]
 */
export function Matrix({ labels, counts, onCell, chosen }) {
  const [all, setAll] = useState(false);
  const shown = useMemo(() => (all || labels.length <= MOST ? labels.map((_, i) => i) : mostErrors(counts, MOST)), [counts, all]);
  const pairs = useMemo(() => confusions(labels, counts), [labels, counts]);
  const totals = counts.map((row) => row.reduce((sum, n) => sum + n, 0));
  const files = () => ({ csv: () => csv([["label \\ prediction", ...labels], ...labels.map((label, i) => [label, ...counts[i]])]) });
  const cell = (i, j) => {
    const count = counts[i][j];
    const share = totals[i] ? count / totals[i] : 0;
    const said = t("matrix.cell", { label: labels[i], predicted: labels[j], n: count, share: percent(share, 0) });
    const here = chosen?.label === labels[i] && chosen?.predicted === labels[j];
    const strength = { "--share": `${Math.round(Math.sqrt(share) * 55)}%` };
    if (!count) return html`<td key=${j} class="matrix-cell matrix-zero">·</td>`;
    return html`<td key=${j} class=${`matrix-cell ${i === j ? "matrix-right" : "matrix-wrong"}`} style=${strength}>
      <button type="button" aria-pressed=${here} aria-label=${said} title=${said} onClick=${() => onCell(labels[i], labels[j])}>
        <strong>${count}</strong><span>${percent(share, 0)}</span></button></td>`;
  };
  return html`<figure class="chart" role="group" aria-label=${t("matrix.title")}>
    <figcaption class="chart-head"><div><h3>${t("matrix.title")}</h3><p class="chart-note">${t("matrix.note")}</p></div>
      <${ExportMenu} title=${t("matrix.title")} files=${files} kinds=${["csv"]} /></figcaption>
    <div class="table-scroll" tabindex="0" role="region" aria-label=${t("matrix.title")}>
      <table class="matrix">
        <caption class="visually-hidden">${t("matrix.note")}</caption>
        <thead><tr><td class="matrix-corner"><span>${t("matrix.true")} ↓</span><span>${t("matrix.predicted")} →</span></td>
          ${shown.map((j) => html`<th key=${j} scope="col" title=${labels[j]}><span>${labels[j]}</span></th>`)}</tr></thead>
        <tbody>${shown.map((i) => html`<tr key=${i}><th scope="row" title=${labels[i]}><span>${labels[i]}</span></th>${shown.map((j) => cell(i, j))}
          <td class="matrix-total" title=${t("matrix.rows", { n: totals[i] })}>${totals[i]}</td></tr>`)}</tbody>
      </table>
    </div>
    ${labels.length > MOST && html`<p class="small muted">${all ? "" : t("matrix.most", { n: MOST, of: labels.length })}
      <${Button} kind="quiet" onClick=${() => setAll(!all)}>${all ? t("matrix.fewer") : t("matrix.all")}<//></p>`}
    ${labels.length > 2 && pairs.length > 0 && html`<h4 class="matrix-pairs-head">${t("matrix.pairs")}</h4>
      <ol class="matrix-pairs">${pairs.slice(0, 6).map((pair) => html`<li key=${`${pair.label}|${pair.predicted}`}>
        <button type="button" class="text-button" onClick=${() => onCell(pair.label, pair.predicted)}>
          ${t("matrix.pair", { label: pair.label, predicted: pair.predicted })}</button> <span class="muted">${pair.count}</span></li>`)}</ol>`}
  </figure>`;
}

/** The labels that are confused most, by rows lost and rows taken, in their own order. */
function mostErrors(counts, most) {
  const errors = counts.map((row, i) => row.reduce((sum, n, j) => sum + (i === j ? 0 : n + counts[j][i]), 0));
  return errors.map((n, i) => [n, i]).sort((a, b) => b[0] - a[0]).slice(0, most).map(([, i]) => i).sort((a, b) => a - b);
}

/** Pairs of labels by how many rows are taken for one another. */
export function confusions(labels, counts) {
  const pairs = counts.flatMap((row, i) => row.map((count, j) => ({ label: labels[i], predicted: labels[j], count, wrong: i !== j })));
  return pairs.filter(({ wrong, count }) => wrong && count > 0).sort((a, b) => b.count - a.count);
}
