import { html, useEffect, useState } from "../../lib/ui.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../components/Button.js";

/** An image from the disk, by choice or dropped here. @param {{busy: boolean, onFile: (file: File) => void}} props */
export function ImageInput({ busy, onFile }) {
  const [file, setFile] = useState(null);
  const [over, setOver] = useState(false);
  const [address, setAddress] = useState(null);
  useEffect(() => {
    if (!file) return undefined;
    const made = URL.createObjectURL(file);
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [file]);
  const take = (chosen) => {
    if (!chosen) return;
    setFile(chosen);
    onFile(chosen);
  };
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer.files[0]);
  };
  return html`<div class=${`try-drop${over ? " is-over" : ""}`} onDragOver=${(event) => { event.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    ${address && html`<img src=${address} alt=${t("try.image.alt", { name: file.name })} />`}
    <label class="try-file"><span class="field-label">${t("try.image")}</span><input type="file" accept="image/*" onChange=${(event) => take(event.currentTarget.files[0])} /></label>
    ${file && html`<${Button} busy=${busy} onClick=${() => onFile(file)}>${t("try.go")}<//>`}
  </div>`;
}
