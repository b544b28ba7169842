// Keys of a view. They rest while someone types, while a dialog is open, and with Ctrl, Alt or Meta held.
import { useEffect, useRef } from "./ui.js";
import { isTyping } from "./dom.js";

/**
 * @param {Record<string, (event: KeyboardEvent) => void>} keys by `event.key`, for example {"/": focusSearch, j: next}
 */
export function useKeys(keys) {
  const current = useRef(keys);
  current.current = keys;
  useEffect(() => {
    const press = (event) => {
      if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
      if (isTyping(event) || document.querySelector("dialog[open]")) return;
      const handle = Object.hasOwn(current.current, event.key) ? current.current[event.key] : null;
      if (!handle) return;
      event.preventDefault();
      handle(event);
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, []);
}
