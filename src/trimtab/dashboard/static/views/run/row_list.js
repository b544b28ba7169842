// Rows one below the other: the text or picture, its label, and what the model made of it.
import { html, useState } from "../../lib/ui.js";
import { post, runPath } from "../../lib/api.js";
import { number, percent } from "../../lib/format.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../components/Button.js";
import { Notice } from "../../components/Notice.js";

const LONG = 600; // characters of a text that are shown at first
const MOST = 5; // probabilities shown

/** @param {{run: object, rows: object[], kind: string}} props */
export function RowList({ run, rows, kind }) {
  if (!rows.length) return html`<p class="empty-line">${t("rows.empty")}</p>`;
  return html`<ol class="samples">${rows.map((row) => html`<${Row} key=${`${row.source} ${row.row} ${row.split ?? ""}`} run=${run} row=${row} kind=${kind} />`)}</ol>`;
}

function Row({ run, row, kind }) {
  const told = row.prediction !== undefined && row.prediction !== null;
  const right = told && row.prediction === row.label;
  return html`<li class="sample">
    <div class="sample-content">${row.image ? html`<${Picture} run=${run} row=${row} />` : html`<${Text} run=${run} row=${row} />`}
      <p class="sample-place small muted">${t("rows.place", { row: number(row.row, 12), source: row.source ?? "" })}${Number.isFinite(row.loss) ? ` · ${t("rows.loss", { loss: number(row.loss, 3) })}` : ""}
        ${Number.isFinite(row.score) && kind === "suspect" ? ` · ${t("rows.doubt", { score: number(row.score, 3) })}` : ""}</p></div>
    <div class="sample-answer">
      <p><span class="muted">${t("rows.label")}</span> <strong>${row.label}</strong></p>
      ${told && html`<p><span class="muted">${t("rows.prediction")}</span> <strong class=${right ? "good" : "bad"}>${row.prediction}</strong> <span class=${right ? "good" : "bad"}>${right ? "✓" : "✗"}<span class="visually-hidden"> ${t(right ? "rows.right" : "rows.wrong")}</span></span></p>`}
      ${!told && row.suggested && html`<p><span class="muted">${t("rows.suggested")}</span> <strong>${row.suggested}</strong></p>`}
      <${Probabilities} row=${row} />
    </div>
  </li>`;
}

/** The likeliest labels, and the true one wherever it stands. */
function Probabilities({ row }) {
  const all = Object.entries(row.probabilities ?? {}).sort((a, b) => b[1] - a[1]);
  const shown = all.slice(0, MOST);
  const own = all.find(([label]) => label === row.label);
  if (own && !shown.includes(own)) shown.push(own);
  if (!shown.length) return null;
  return html`<ul class="probabilities" aria-label=${t("rows.probabilities")}>${shown.map(([label, p]) => html`<li key=${label} class=${label === row.label ? "is-true" : ""}>
    <span class="probability-name" title=${label}>${label}</span><span class="probability-bar" aria-hidden="true"><span style=${{ width: `${100 * p}%` }}></span></span><span class="probability-value">${percent(p, 0)}</span></li>`)}</ul>`;
}

function Picture({ run, row }) {
  const [broken, setBroken] = useState(false);
  const split = row.split ?? "test";
  if (broken) return html`<p class="muted">${t("rows.no_picture")}</p>`;
  return html`<img class="sample-picture" loading="lazy" width="160" height="160" alt=${t("rows.picture", { row: row.row, label: row.label })}
    src=${runPath(run.id, `/image/${encodeURIComponent(row.row)}?split=${encodeURIComponent(split)}&size=160${row.source ? `&source=${encodeURIComponent(row.source)}` : ""}`)} onError=${() => setBroken(true)} />`;
}

/** The text; on request with the words shaded by what each did for the prediction. */
function Text({ run, row }) {
  const [all, setAll] = useState(false);
  const [why, setWhy] = useState(null);
  const parts = (Array.isArray(row.text) ? row.text : [row.text, row.text_pair]).filter((part) => part !== undefined && part !== null).map(String);
  const ask = async () => {
    setWhy({ busy: true });
    try {
      const answer = await post(runPath(run.id, "/predict"), { inputs: [parts.length > 1 ? parts : parts[0]], explain: true });
      setWhy({ words: answer.predictions[0].words ?? [], label: answer.predictions[0].label });
    } catch (error) {
      setWhy({ error });
    }
  };
  const long = parts.some((part) => part.length > LONG);
  return html`${why?.words ? html`<${Explained} words=${why.words} label=${why.label} />`
    : parts.map((part, i) => html`<p key=${i} class="sample-text">${all || part.length <= LONG ? part : `${part.slice(0, LONG)} …`}</p>`)}
    <p class="sample-more">${long && !why?.words && html`<button type="button" class="text-button" onClick=${() => setAll(!all)}>${t(all ? "rows.less" : "rows.more")}</button>`}
      ${run.detail.has?.model && !why?.words && html`<${Button} kind="quiet" busy=${why?.busy} onClick=${ask}>${t(why?.busy ? "rows.why.busy" : "rows.why")}<//>`}
      ${why?.words && html`<button type="button" class="text-button" onClick=${() => setWhy(null)}>${t("rows.why.close")}</button>`}</p>
    ${why?.error && html`<${Notice} error=${why.error} onClose=${() => setWhy(null)} />`}`;
}

/** Words for the prediction underlaid, words against it underlined: told apart without colour too. */
function Explained({ words, label }) {
  const most = Math.max(...words.map(({ effect }) => Math.abs(effect ?? 0)), 1e-9);
  return html`<p class="sample-text">${words.map(({ text, effect }, i) => {
    const strength = Math.abs(effect ?? 0) / most;
    if (strength < 0.08) return html`<span key=${i}>${text} </span>`;
    const told = t(effect > 0 ? "rows.word.for" : "rows.word.against", { points: number(100 * Math.abs(effect), 2), label });
    return html`<span key=${i}><mark class=${effect > 0 ? "word-for" : "word-against"} style=${{ "--strength": `${Math.round(15 + 50 * strength)}%` }} title=${told}>${text}</mark> </span>`;
  })}</p><p class="small muted">${t("rows.why.note", { label })}</p>`;
}
