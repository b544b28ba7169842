// What can be done with a run. Only what is possible now is shown; what ends something asks first.
import { html, useState } from "../../lib/ui.js";
import { post, runPath } from "../../lib/api.js";
import { number } from "../../lib/format.js";
import { useInfo } from "../../lib/info.js";
import { t } from "../../lib/i18n.js";
import { runHash, withQuery } from "../../lib/router.js";
import { Button } from "../../components/Button.js";
import { Dialog } from "../../components/Dialog.js";
import { lastValue, named } from "./tables.js";

const STEPPING = ["running", "evaluating", "paused"];
const ENDED = ["stopped", "crashed", "failed"];
const FACTORS = [0.1, 0.3, 0.5, 2, 3];

/**
 * Sends a request to the run, and keeps what became of it in the page's state.
 * @param {object} run @param {string} command as in the control file, or "resume_run"
 * @param {object} [fields] @param {string} [tail] the address below the run's @returns {Promise<void>}
 */
export async function ask(run, command, fields = {}, tail = "/control") {
  const key = `${command} ${Date.now()}`;
  const tell = (more) => run.dispatch({ type: "request", request: { key, command, fields, sent: Date.now(), ...more } });
  tell({});
  try {
    const answer = await post(runPath(run.id, tail), tail === "/control" ? { command, ...fields } : fields);
    tell({ id: answer?.id ?? null, done: tail === "/resume" });
  } catch (error) {
    tell({ error: { message: error.message, remedy: error.remedy } });
  }
}

/** @param {{run: object}} props */
export function Controls({ run }) {
  const { summary, detail } = run;
  const { can_start: canStart } = useInfo();
  const [dialog, setDialog] = useState(null);
  if (run.gone) return null;
  const own = !summary.foreign;
  const { state } = summary;
  const steps = own && STEPPING.includes(state);
  const close = () => setDialog(null);
  return html`
    ${steps && state !== "paused" && html`<${Button} onClick=${() => ask(run, "pause")}>${t("control.pause")}<//>`}
    ${steps && state === "paused" && html`<${Button} kind="primary" onClick=${() => ask(run, "resume")}>${t("control.resume")}<//>`}
    ${steps && html`<${Button} onClick=${() => ask(run, "checkpoint")}>${t("control.checkpoint")}<//>
      <${Button} onClick=${() => setDialog("rate")}>${t("control.rate")}<//>
      <${Button} kind="danger" onClick=${() => setDialog("stop")}>${t("control.stop")}<//>`}
    ${own && canStart && ENDED.includes(state) && html`<${Button} kind="primary" onClick=${() => ask(run, "resume_run", {}, "/resume")}>${t("control.resume_run")}<//>`}
    ${own && canStart && detail.recipe?.length > 0 && html`<${Button} href=${withQuery("#/start", { from: run.id })}>${t("control.again")}<//>`}
    ${own && detail.has?.model && html`<${Button} href=${runHash(run.id, "try")}>${t("control.try")}<//>`}
    ${dialog === "stop" && html`<${Stop} run=${run} onClose=${close} />`}
    ${dialog === "rate" && html`<${Rate} run=${run} onClose=${close} />`}`;
}

function Stop({ run, onClose }) {
  const stop = () => {
    onClose();
    ask(run, "stop");
  };
  return html`<${Dialog} title=${t("control.stop.title")} onClose=${onClose} actions=${html`
      <${Button} onClick=${onClose} data-autofocus>${t("cancel")}<//><${Button} kind="danger" onClick=${stop}>${t("control.stop")}<//>`}>
    <p>${t("control.stop.text")}</p>
  <//>`;
}

/** The learning rate times a factor, with what each group's would then be. */
function Rate({ run, onClose }) {
  const [text, setText] = useState("0.5");
  const factor = Number(text);
  const valid = factor > 0 && Number.isFinite(factor) && factor !== 1;
  const groups = named(run.tables, "step", "learning_rate/");
  const send = (event) => {
    event.preventDefault();
    if (!valid) return;
    onClose();
    ask(run, "learning_rate", { factor });
  };
  return html`<${Dialog} title=${t("control.rate.title")} onClose=${onClose} actions=${html`
      <${Button} onClick=${onClose}>${t("cancel")}<//><${Button} kind="primary" disabled=${!valid} onClick=${send}>${t("control.rate.send")}<//>`}>
    <form class="rate" onSubmit=${send}>
      <p>${t("control.rate.text")}</p>
      <label class="field-label" for="rate-factor">${t("control.rate.factor")}</label>
      <div class="buttons"><input id="rate-factor" type="number" min="0.0001" max="1000" step="any" value=${text} onInput=${(event) => setText(event.currentTarget.value)} data-autofocus />
        ${FACTORS.map((one) => html`<${Button} key=${one} pressed=${one === factor} onClick=${() => setText(String(one))}>× ${one}<//>`)}</div>
      ${groups.length > 0 && html`<table class="table rate-table"><thead><tr><th scope="col">${t("control.rate.group")}</th>
        <th scope="col" class="numeric">${t("control.rate.now")}</th><th scope="col" class="numeric">${t("control.rate.then")}</th></tr></thead>
        <tbody>${groups.slice(0, 12).map((name) => {
          const now = lastValue(run.tables.step, name);
          return html`<tr key=${name}><td>${name.slice("learning_rate/".length)}</td><td class="numeric">${number(now, 3)}</td><td class="numeric">${valid ? number(now * factor, 3) : "–"}</td></tr>`;
        })}</tbody></table>`}
    </form>
  <//>`;
}
