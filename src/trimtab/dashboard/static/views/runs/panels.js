// What is shown beside the list: the bar of chosen runs, the keys, and what to do in an empty folder.
import { html, useState } from "../../lib/ui.js";
import { useInfo } from "../../lib/info.js";
import { t } from "../../lib/i18n.js";
import { joinIds, withQuery } from "../../lib/router.js";
import { Button } from "../../components/Button.js";
import { Dialog } from "../../components/Dialog.js";
import { Words } from "../../components/Notice.js";
import { readTags } from "./editor.js";
import { annotate } from "./store.js";

/** The address that compares these runs. @param {string[]} ids */
export function compareHash(ids) {
  return withQuery("#/compare", { runs: joinIds(ids) });
}

/** @param {{runs: object[], onClear: () => void, onArchive: (runs: object[], archived: boolean) => void}} props the chosen runs */
export function Chosen({ runs, onClear, onArchive }) {
  const [tagging, setTagging] = useState(false);
  const ids = runs.map(({ id }) => id);
  const back = runs.every((run) => run.archived);
  return html`<div class="chosen-bar" role="region" aria-label=${t("runs.chosen")}>
    <strong role="status">${t("runs.chosen.count", { n: runs.length })}</strong>
    <${Button} kind="primary" href=${compareHash(ids)} disabled=${runs.length < 2} title=${runs.length < 2 ? t("runs.compare.more") : undefined}>${t("runs.compare")}<//>
    <${Button} onClick=${() => setTagging(true)}>${t("runs.tag.add")}<//>
    <${Button} onClick=${() => onArchive(runs, !back)}>${t(back ? "runs.archive.back" : "runs.archive")}<//>
    <${Button} kind="quiet" onClick=${onClear}>${t("runs.chosen.clear")}<//>
    ${tagging && html`<${TagDialog} ids=${ids} onClose=${() => setTagging(false)} />`}
  </div>`;
}

function TagDialog({ ids, onClose }) {
  const [text, setText] = useState("");
  const save = (event) => {
    event.preventDefault();
    const added = readTags(text);
    if (added.length) annotate(ids, (run) => ({ tags: [...new Set([...(run.tags ?? []), ...added])] }));
    onClose();
  };
  return html`<${Dialog} title=${t("runs.tag.add.title", { n: ids.length })} onClose=${onClose}>
    <form onSubmit=${save} class="tag-form"><label><span class="field-label">${t("runs.edit.tags")}</span>
      <input type="text" value=${text} placeholder=${t("runs.edit.tags.hint")} maxlength="400" onInput=${(event) => setText(event.currentTarget.value)} data-autofocus /></label>
      <${Button} kind="primary" type="submit">${t("save")}<//></form>
  <//>`;
}

const KEYS = [["/", "search"], ["j", "next"], ["k", "previous"], ["Enter", "open"], ["x", "choose"], ["e", "edit"], ["a", "archive"], ["c", "compare"], ["n", "start"], ["Esc", "escape"], ["?", "help"]];

export function Help({ onClose }) {
  return html`<${Dialog} title=${t("runs.help")} onClose=${onClose}>
    <dl class="keys">${KEYS.map(([key, what]) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${t(`runs.key.${what}`)}</dd></div>`)}</dl>
    <p class="muted"><${Words} text=${t("runs.help.search")} /></p>
  <//>`;
}

/** An empty folder: what to type, ready to be copied. */
export function Empty() {
  const info = useInfo();
  const folder = info.folder || "runs";
  const command = `trimtab train DATA.csv --output ${quoted(`${folder.replace(/\/$/, "")}/first`)}`;
  return html`<section class="empty card">
    <h1>${t("runs.empty.title")}</h1>
    <p>${t("runs.empty.text", { folder })}</p>
    <${Command} text=${command} />
    <p class="muted">${t("runs.empty.data")}</p>
    ${info.can_start && html`<p class="buttons"><${Button} kind="primary" href="#/start">${t("runs.empty.start")}<//></p>`}
    <p class="muted">${t("runs.empty.foreign")}</p>
  </section>`;
}

/** A path as a shell reads it. */
function quoted(path) {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

function Command({ text }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
      setTimeout(() => setCopied(false), 2000);
    } catch {
      setCopied(false); // forbidden: the text can be marked and copied by hand
    }
  };
  return html`<div class="command"><pre tabindex="0">${text}</pre><${Button} onClick=${copy}>${t(copied ? "runs.copied" : "runs.copy")}<//></div>`;
}
