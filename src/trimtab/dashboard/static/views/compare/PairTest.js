// Two runs on the same rows: the difference of the metric with its interval, and who gets which rows right.
import { html, useEffect, useRef, useState } from "../../lib/ui.js";
import { post } from "../../lib/api.js";
import { t } from "../../lib/i18n.js";
import { measure, number } from "../../lib/format.js";
import { Button } from "../../components/Button.js";
import { Notice, Waiting } from "../../components/Notice.js";
import { isAborted, waitFor } from "../jobs.js";

/** Metrics that are told in points (hundredths). */
const IN_POINTS = new Set(["accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "ece"]);

/** @param {{runs: any[], all: any[]}} props */
export function PairTest({ all }) {
  const ready = all.filter(({ state }) => state === "finished");
  const [pair, setPair] = useState(["", ""]);
  const [state, setState] = useState({ busy: false, error: null, result: null });
  const running = useRef(null);
  const first = ready.some(({ id }) => id === pair[0]) ? pair[0] : ready[0]?.id ?? "";
  const second = ready.some(({ id }) => id === pair[1]) && pair[1] !== first ? pair[1] : ready.find(({ id }) => id !== first)?.id ?? "";
  useEffect(() => () => running.current?.abort(), []);
  useEffect(() => setState({ busy: false, error: null, result: null }), [first, second]);

  const test = async () => {
    running.current?.abort();
    const control = new AbortController();
    running.current = control;
    setState({ busy: true, error: null, result: null });
    try {
      const { job } = await post("/api/compare/test", { first, second });
      const found = await waitFor(job, { signal: control.signal });
      setState({ busy: false, error: null, result: found });
    } catch (error) {
      if (!isAborted(error)) setState({ busy: false, error, result: null });
    }
  };
  if (ready.length < 2) return html`<section class="card"><h2>${t("compare.test")}</h2><p class="muted">${t("compare.test.two")}</p></section>`;
  const choose = (label, value, set) => html`<label><span class="field-label">${label}</span><select onChange=${(event) => set(event.currentTarget.value)}>
    ${ready.map(({ id, label: name }) => html`<option key=${id} value=${id} selected=${id === value}>${name}</option>`)}</select></label>`;
  return html`<section class="card compare-test" aria-label=${t("compare.test")}><h2>${t("compare.test")}</h2>
    <p class="muted">${t("compare.test.about")}</p>
    <div class="compare-pair">
      ${choose(t("compare.first"), first, (id) => setPair([id, id === second ? first : second]))}
      <${Button} kind="icon" label=${t("compare.swap")} onClick=${() => setPair([second, first])}>⇄<//>
      ${choose(t("compare.second"), second, (id) => setPair([id === first ? second : first, id]))}
      <${Button} kind="primary" busy=${state.busy} onClick=${test}>${t("compare.test.go")}<//>
    </div>
    ${state.busy && html`<${Waiting} label=${t("compare.testing")} />`}
    ${state.error && html`<${Notice} error=${state.error} />`}
    ${state.result && html`<${Result} found=${state.result} all=${all} names=${[first, second].map((id) => all.find((run) => run.id === id).label)} />`}
  </section>`;
}

function Result({ found, names }) {
  const pair = found.pairs[0];
  const refused = Object.values(found.refused ?? {})[0];
  if (!pair) return html`<${Notice} kind="warning" title=${t("compare.refused")}><p>${refused}</p><//>`;
  const points = IN_POINTS.has(pair.metric);
  const amount = (x) => `${x > 0 ? "+" : ""}${points ? number(100 * x, 3) : number(x, 3)}`;
  return html`<div class="compare-result" role="status">
    <p class=${`compare-sentence is-${pair.verdict}`}>${sentence(pair, names, points)}</p>
    <${IntervalBar} pair=${pair} amount=${amount} names=${names} />
    <div class="compare-outcome">
      <div class="table-scroll" tabindex="0" role="region" aria-label=${t("compare.rows.right")}><table class="table compare-square"><caption>${t("compare.rows.right")}</caption>
        <thead><tr><td></td><th scope="col">${t("compare.right", { name: names[1] })}</th><th scope="col">${t("compare.wrong", { name: names[1] })}</th></tr></thead>
        <tbody><tr><th scope="row">${t("compare.right", { name: names[0] })}</th><td>${number(pair.both_right)}</td><td>${number(pair.first_only)}</td></tr>
          <tr><th scope="row">${t("compare.wrong", { name: names[0] })}</th><td>${number(pair.second_only)}</td><td>${number(pair.both_wrong)}</td></tr></tbody>
      </table></div>
      <dl class="compare-facts">
        <div><dt>${t("compare.value.of", { name: names[0], metric: pair.metric })}</dt><dd>${measure(pair.first_value)}</dd></div>
        <div><dt>${t("compare.value.of", { name: names[1], metric: pair.metric })}</dt><dd>${measure(pair.second_value)}</dd></div>
        <div><dt>${t("compare.mcnemar")}</dt><dd>${pair.p_value < 0.001 ? "p < 0.001" : `p = ${pair.p_value.toFixed(3)}`}</dd></div>
        <div><dt>${t("compare.changed")}</dt><dd>${number(pair.changed)} / ${number(pair.rows)}</dd></div>
      </dl>
    </div>
    ${pair.examples?.length > 0 && html`<details class="compare-examples"><summary>${t("compare.examples", { n: pair.examples.length })}</summary><${Examples} pair=${pair} names=${names} /></details>`}
    <p class="muted small">${t("compare.test.scope")}</p>
  </div>`;
}

function sentence(pair, names, points) {
  const amount = (x) => (points ? t("compare.points", { x: number(100 * Math.abs(x), 3), metric: pair.metric }) : `${number(Math.abs(x), 3)} ${pair.metric}`);
  const vars = { first: names[0], second: names[1], rows: number(pair.rows), amount: amount(pair.difference.value), level: number(100 * pair.confidence, 3) };
  if (pair.verdict === "equal") return t("compare.says.equal", vars);
  if (pair.verdict === "undecided") return t("compare.says.undecided", { ...vars, better: pair.difference.value >= 0 === pair.higher_is_better ? names[1] : names[0] });
  const [better, worse] = pair.verdict === "first" ? names : [names[1], names[0]];
  return t("compare.says.better", { ...vars, better, worse });
}

/** The interval of the difference on a line with 0: which side it lies on is seen at a glance. */
function IntervalBar({ pair, amount, names }) {
  const { low, value, high } = pair.difference;
  const reach = Math.max(Math.abs(low), Math.abs(high), 1e-9) * 1.15;
  const at = (x) => 50 + (50 * x) / reach;
  const text = t("compare.interval", { value: amount(value), low: amount(low), high: amount(high), first: names[0], second: names[1] });
  return html`<figure class="compare-interval" aria-label=${text}>
    <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      <line x1="0" x2="100" y1="5" y2="5" class="axis" /><line x1="50" x2="50" y1="0" y2="10" class="zero" />
      <line x1=${at(low)} x2=${at(high)} y1="5" y2="5" class=${`range is-${pair.verdict}`} /><line x1=${at(value)} x2=${at(value)} y1="1.5" y2="8.5" class="value" />
    </svg>
    <div class="compare-ends"><span>← ${t("compare.toward", { name: pair.higher_is_better ? names[0] : names[1] })}</span><span>0</span><span>${t("compare.toward", { name: pair.higher_is_better ? names[1] : names[0] })} →</span></div>
    <figcaption>${text}</figcaption>
  </figure>`;
}

function Examples({ pair, names }) {
  return html`<div class="table-scroll" tabindex="0" role="region" aria-label=${t("compare.examples", { n: pair.examples.length })}><table class="table">
    <thead><tr><th scope="col">${t("compare.row")}</th><th scope="col">${t("compare.input")}</th><th scope="col">${t("compare.label")}</th><th scope="col">${names[0]}</th><th scope="col">${names[1]}</th></tr></thead>
    <tbody>${pair.examples.map((row, i) => html`<tr key=${i}><td>${row.row ?? ""}</td><td class="compare-text">${[row.text, row.text_pair, row.image].filter(Boolean).join(" | ")}</td><td>${row.label}</td>
      ${[row.first, row.second].map((guess) => html`<td class=${guess === row.label ? "good" : "bad"}>${guess === row.label ? "✓" : "✗"} ${guess}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}
