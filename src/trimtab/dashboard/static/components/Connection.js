import { html, useEffect, useState } from "../lib/ui.js";
import { onConnection } from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { onToast } from "../lib/toast.js";
import { Button } from "./Button.js";
import { Notice, Words } from "./Notice.js";

const BACK = 3000; // ms for which "connected again" is shown
const SHORT = 1500; // ms: a break that is over sooner is not worth a word
const TOAST = 6000; // ms

/** Says when the server is lost and when it is back; the view below keeps what it shows. */
export function Connection() {
  const [state, setState] = useState("up"); // up, lost, back
  useEffect(() => {
    let timer = null;
    let said = false;
    const leave = onConnection((up) => {
      clearTimeout(timer);
      if (!up) {
        timer = setTimeout(() => { said = true; setState("lost"); }, SHORT);
        return;
      }
      window.dispatchEvent(new Event("trimtab:connected"));
      if (!said) return;
      said = false;
      setState("back");
      timer = setTimeout(() => setState("up"), BACK);
    });
    return () => { clearTimeout(timer); leave(); };
  }, []);
  return html`<div class="connection" role="status" aria-live="polite">
    ${state === "lost" && html`<div class="connection-bar connection-lost"><strong>${t("shell.lost")}</strong> <span><${Words} text=${t("shell.lost.text")} /></span></div>`}
    ${state === "back" && html`<div class="connection-bar connection-back">${t("shell.back")}</div>`}
  </div>`;
}

/** The messages of lib/toast.js. */
export function Toasts() {
  const [shown, setShown] = useState([]);
  const drop = (id) => setShown((all) => all.filter((message) => message.id !== id));
  useEffect(() => onToast((message) => {
    setShown((all) => [...all.slice(-3), message]);
    if (message.kind !== "error") setTimeout(() => drop(message.id), TOAST);
  }), []);
  return html`<div class="toasts" aria-live="polite">
    ${shown.map((message) => html`<${Notice} key=${message.id} kind=${message.kind} error=${message.error} onClose=${() => drop(message.id)}>
      ${message.text && html`<p>${message.text}</p>`}
      ${message.action && html`<${Button} kind="quiet" onClick=${() => { drop(message.id); message.action.onClick(); }}>${message.action.label}<//>`}
    <//>`)}
  </div>`;
}
