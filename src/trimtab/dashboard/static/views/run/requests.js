// What became of each request: waiting, done, or refused with the reason. The run answers by an event of its own.
import { html, useEffect, useState } from "../../lib/ui.js";
import { known, t } from "../../lib/i18n.js";
import { Notice } from "../../components/Notice.js";
import { runHash, withQuery } from "../../lib/router.js";

const LONG = 30_000; // ms without an answer, after which we say why that may be
const SHOWN = 12_000; // ms that a success stays

/** @param {{run: object, requests: object[]}} props */
export function Requests({ run, requests }) {
  return html`<div class="requests" aria-live="polite">
    ${requests.map((request) => html`<${Request} key=${request.key} run=${run} request=${request} />`)}
  </div>`;
}

function Request({ run, request }) {
  const answer = request.id ? run.detail.actions.findLast((action) => action.id === request.id) : null;
  const [late, setLate] = useState(false);
  const good = request.done || answer?.accepted;
  const dismiss = () => run.dispatch({ type: "dismiss", key: request.key });
  useEffect(() => {
    const timer = good ? setTimeout(dismiss, SHOWN) : setTimeout(() => setLate(true), LONG);
    return () => clearTimeout(timer);
  }, [Boolean(good)]);
  const name = commandName(request.command, request.fields);
  if (request.error) return html`<${Notice} error=${request.error} title=${t("request.failed", { name })} onClose=${dismiss} />`;
  if (answer && !answer.accepted) {
    return html`<${Notice} kind="warning" title=${t("request.refused", { name })} onClose=${dismiss}><p>${answer.reason || t("request.no_reason")}</p>
      ${request.command === "remedy" && html`<p><a href=${withQuery("#/start", { from: run.id, finding: request.fields.finding })}>${t("request.instead")}</a></p>`}<//>`;
  }
  if (answer) return html`<${Notice} kind="good" title=${t("request.accepted", { name, step: answer.step ?? "–" })} onClose=${dismiss}>${answer.reason && html`<p>${answer.reason}</p>`}<//>`;
  if (request.done) return html`<${Notice} kind="good" title=${t("request.done", { name })} onClose=${dismiss}><p><a href=${runHash(run.id, "log")}>${t("request.log")}</a></p><//>`;
  return html`<${Notice} title=${t("request.waiting", { name })} onClose=${late ? dismiss : undefined}>${late && html`<p>${t("request.late")}</p>`}<//>`;
}

/** A request or a control event in words. @param {string} command @param {object} [fields] */
export function commandName(command, fields = {}) {
  const key = `command.${command}`;
  return known(key) ? t(key, { factor: fields.factor ?? "", finding: "" }) : String(command ?? "");
}
