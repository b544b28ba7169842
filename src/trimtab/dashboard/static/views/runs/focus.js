// Moving a row in the page takes the focus from what is inside it; this gives it back.
import { useLayoutEffect, useRef } from "../../lib/ui.js";

/** @param {{current: HTMLElement | null}} root only what has the focus inside of it is looked after */
export function useKeptFocus(root) {
  const before = useRef(null);
  const active = document.activeElement;
  before.current = root.current?.contains(active) ? active : null;
  useLayoutEffect(() => {
    const lost = before.current;
    if (lost && lost.isConnected && document.activeElement !== lost && (document.activeElement === document.body || !document.activeElement)) {
      lost.focus({ preventScroll: true });
    }
  });
}
