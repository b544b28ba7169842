// One prediction: the label, every probability as a bar, and the words by what they do to it.
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/i18n.js";
import { percent } from "../../lib/format.js";
import { effectsOf, pieces } from "./words.js";

const BARS = 8;
const TOLD = 5;

/** @param {{answer: {input: string | [string, string] | {image: string}, prediction: any}}} props */
export function Answer({ answer }) {
  const { input, prediction } = answer;
  return html`<article class="card try-card">
    <p class="try-label"><span class="muted">${t("try.label")}</span> <strong>${prediction.label}</strong> <span>${percent(prediction.probability)}</span></p>
    ${prediction.words?.length ? html`<${Words} input=${input} prediction=${prediction} />` : html`<p class="try-text">${shown(input)}</p>`}
    <${Bars} prediction=${prediction} />
  </article>`;
}

/** An input in one line. @param {any} input */
export function shown(input) {
  if (typeof input === "string") return input;
  return Array.isArray(input) ? input.join(" | ") : input?.image ?? "";
}

function Bars({ prediction }) {
  const [all, setAll] = useState(false);
  const sorted = Object.entries(prediction.probabilities ?? {}).sort(([, a], [, b]) => b - a);
  const list = all ? sorted : sorted.slice(0, BARS);
  return html`<table class="try-bars"><caption class="visually-hidden">${t("try.probabilities")}</caption><tbody>
    ${list.map(([label, share]) => html`<tr key=${label} class=${label === prediction.label ? "is-chosen" : ""}><th scope="row">${label}</th>
      <td class="try-bar-cell"><div class="try-bar" style=${{ width: `${Math.max(0, 100 * share)}%` }}></div></td><td class="numeric">${percent(share)}</td></tr>`)}
  </tbody></table>
  ${sorted.length > BARS && html`<button type="button" class="button button-quiet" onClick=${() => setAll(!all)}>${t(all ? "try.fewer" : "try.all", { n: sorted.length })}</button>`}`;
}

/** The text with each word on a ground as strong as its effect: what speaks for the label, and what against it. */
function Words({ input, prediction }) {
  const { words, label } = prediction;
  const { most, forIt, against } = effectsOf(words, TOLD);
  const points = (effect) => `${effect > 0 ? "+" : "−"}${(100 * Math.abs(effect)).toFixed(1)}`;
  const list = (told) => told.map(({ text, effect }, i) => html`<span key=${i}>${i ? ", " : ""}“${text}” ${points(effect)}</span>`);
  return html`<p class="try-text">${pieces(shown(input), words).map((piece, i) => {
      if (!piece.effect || Math.abs(piece.effect) < 0.08 * most) return html`<span key=${i}>${piece.text}</span>`;
      const kind = piece.effect > 0 ? "for" : "against";
      return html`<mark key=${i} class=${`try-word is-${kind}`} style=${{ "--strength": Math.min(1, Math.abs(piece.effect) / most).toFixed(3) }} title=${t(`try.word.${kind}`, { x: points(piece.effect), label })}>${piece.text}</mark>`;
    })}</p>
    <p class="try-legend small"><span class="try-key is-for" aria-hidden="true"></span>${t("try.for", { label })} <span class="try-key is-against" aria-hidden="true"></span>${t("try.against", { label })}</p>
    <p class="small try-told">
      ${forIt.length > 0 && html`<span>${t("try.told.for", { label })} ${list(forIt)}. </span>`}
      ${against.length > 0 && html`<span>${t("try.told.against", { label })} ${list(against)}. </span>`}
      <span class="muted">${t("try.how")}</span>
    </p>`;
}
