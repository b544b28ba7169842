// Tags and a note of one run, edited where it stands.
import { html, useState } from "../../lib/ui.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../components/Button.js";
import { annotate } from "./store.js";

/** "a, b,,a" -> ["a", "b"]. @param {string} text @returns {string[]} */
export function readTags(text) {
  return [...new Set(text.split(/[,，、]/).map((tag) => tag.trim()).filter(Boolean))];
}

/** @param {{run: object, tags: string[], onClose: () => void}} props tags: those in use, offered while typing */
export function Editor({ run, tags, onClose }) {
  const [text, setText] = useState((run.tags ?? []).join(", "));
  const [note, setNote] = useState(run.note ?? "");
  const save = (event) => {
    event.preventDefault();
    annotate([run.id], () => ({ tags: readTags(text), note: note.trim() }));
    onClose();
  };
  const key = (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    onClose();
  };
  const used = readTags(text);
  const offered = tags.filter((tag) => !used.includes(tag)).slice(0, 6);
  return html`<form class="editor" onSubmit=${save} onKeyDown=${key} aria-label=${t("runs.edit.of", { name: run.name })}>
    <label class="editor-field"><span class="field-label">${t("runs.edit.tags")}</span>
      <input type="text" value=${text} placeholder=${t("runs.edit.tags.hint")} autocomplete="off" maxlength="400" ref=${focusOnce}
        onInput=${(event) => setText(event.currentTarget.value)} /></label>
    <label class="editor-field editor-note"><span class="field-label">${t("runs.edit.note")}</span>
      <input type="text" value=${note} placeholder=${t("runs.edit.note.hint")} autocomplete="off" maxlength="2000"
        onInput=${(event) => setNote(event.currentTarget.value)} /></label>
    <div class="editor-buttons"><${Button} kind="primary" type="submit">${t("save")}<//> <${Button} onClick=${onClose}>${t("cancel")}<//></div>
    <div class="editor-offers">${offered.map((tag) => html`<button key=${tag} type="button" class="tag tag-button"
      onClick=${() => setText([...used, tag].join(", "))}>+ ${tag}</button>`)}</div>
  </form>`;
}

const focused = new WeakSet();

function focusOnce(input) {
  if (!input || focused.has(input)) return;
  focused.add(input);
  input.focus({ preventScroll: true });
}
