import { html, useEffect, useRef } from "../lib/ui.js";
import { t } from "../lib/i18n.js";
import { Button } from "./Button.js";

const REACHABLE = 'a[href], button:not([disabled]), input:not([disabled]), select:not([disabled]), textarea:not([disabled]), [tabindex="0"]';

let count = 0;

/**
 * A window above the page: the focus stays inside, Escape and a click beside it close it, and closing gives the focus
 * back to where it was. Render it only while it is open.
 * @param {{title: string, onClose: () => void, wide?: boolean, actions?: any}} props
 *   actions: buttons of the lower edge; an element with `data-autofocus` gets the focus first
 */
export function Dialog({ title, onClose, wide, actions, children }) {
  const box = useRef(null);
  const id = useRef(null);
  const close = useRef(onClose);
  close.current = onClose;
  if (!id.current) id.current = `dialog-${(count += 1)}`;

  useEffect(() => {
    const dialog = box.current;
    const before = document.activeElement;
    dialog.showModal(); // makes the rest of the page inert, so that neither Tab nor a reader leaves it
    (dialog.querySelector("[data-autofocus]") ?? dialog.querySelector(".dialog-body :is(input, select, textarea)") ?? dialog).focus();
    const cancel = (event) => {
      event.preventDefault(); // the owner closes it by no longer rendering it
      close.current();
    };
    dialog.addEventListener("cancel", cancel);
    return () => {
      dialog.removeEventListener("cancel", cancel);
      if (dialog.open) dialog.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);

  const outside = (event) => {
    if (event.target === box.current) onClose();
  };
  return html`<dialog ref=${box} class="dialog ${wide ? "dialog-wide" : ""}" aria-labelledby=${id.current} tabindex="-1"
      onMouseDown=${outside} onKeyDown=${keepInside}>
    <div class="dialog-box">
      <header class="dialog-head">
        <h2 id=${id.current}>${title}</h2>
        <${Button} kind="icon" label=${t("close")} onClick=${onClose}><span aria-hidden="true">×</span><//>
      </header>
      <div class="dialog-body">${children}</div>
      ${actions && html`<footer class="dialog-foot">${actions}</footer>`}
    </div>
  </dialog>`;
}

/** Tab goes around inside; browsers would else step into their own bars. */
function keepInside(event) {
  event.stopPropagation(); // the page's keys rest while a dialog is open
  if (event.key !== "Tab") return;
  const all = [...event.currentTarget.querySelectorAll(REACHABLE)].filter((element) => element.offsetParent !== null);
  if (!all.length) return;
  const [edge, next] = event.shiftKey ? [all[0], all[all.length - 1]] : [all[all.length - 1], all[0]];
  const active = document.activeElement;
  if (active === edge || active === event.currentTarget) {
    event.preventDefault();
    (active === edge ? next : event.shiftKey ? all[all.length - 1] : all[0]).focus();
  }
}
