// Small helpers around the browser.
import { useEffect, useLayoutEffect, useState } from "../vendor/hooks.js";

/**
 * Offers a file for saving.
 * @param {string} name @param {Blob | string} content @param {string} [type] of a string, for example "text/csv"
 */
export function download(name, content, type = "text/plain") {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\w.\-]+/g, "_");
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** The size of an element, followed. @param {{current: Element | null}} ref @returns {{width: number, height: number}} in px */
export function useSize(ref) {
  const [size, follow] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) return undefined;
    const measure = () => {
      const { width, height } = element.getBoundingClientRect();
      follow((old) => (old.width === width && old.height === height ? old : { width, height }));
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    return () => observer.disconnect();
  }, [ref.current]);
  return size;
}

/**
 * State that the browser keeps between visits (each key is its own; where storage is forbidden it is plain state).
 * @template T @param {string} key @param {T} initial @returns {[T, (next: T | ((old: T) => T)) => void]}
 */
export function useStored(key, initial) {
  const name = `trimtab.${key}`;
  const [value, set] = useState(() => stored(name, initial));
  const store = (next) =>
    set((old) => {
      const result = typeof next === "function" ? next(old) : next;
      try {
        localStorage.setItem(name, JSON.stringify(result));
      } catch {
        // Private windows may forbid it; the choice then holds for this visit.
      }
      return result;
    });
  return [value, store];
}

function stored(name, initial) {
  try {
    const text = localStorage.getItem(name);
    return text === null ? initial : JSON.parse(text);
  } catch {
    return initial;
  }
}

/**
 * Closes an open box on Escape, which gives the focus back to its button, and when somebody clicks or goes elsewhere.
 * @param {{current: HTMLElement | null}} root  the button and its box
 * @param {boolean} open
 * @param {() => void} close
 * @returns {(event: KeyboardEvent) => void} for `onKeyDown` of the root
 */
export function useDismiss(root, open, close) {
  useEffect(() => {
    if (!open) return undefined;
    const outside = (event) => root.current?.contains(event.target) || close();
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
    };
  }, [open]);
  return (event) => {
    if (event.key !== "Escape" || !open) return;
    event.stopPropagation();
    close();
    root.current?.querySelector("button")?.focus();
  };
}

/** Whether a media query holds, followed. @param {string} query @returns {boolean} */
export function useMedia(query) {
  const [holds, follow] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const change = () => follow(list.matches);
    list.addEventListener("change", change);
    change();
    return () => list.removeEventListener("change", change);
  }, [query]);
  return holds;
}

/** "light" or "dark", as shown now; the header sets it. @returns {"light" | "dark"} */
export function useTheme() {
  const root = document.documentElement;
  const [theme, follow] = useState(root.dataset.theme);
  useEffect(() => {
    const observer = new MutationObserver(() => follow(root.dataset.theme));
    observer.observe(root, { attributes: true, attributeFilter: ["data-theme"] });
    return () => observer.disconnect();
  }, []);
  return theme;
}

/** The value of a custom property, for canvases. @param {string} name for example "--series-1" @returns {string} */
export function cssColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Whether a key press is typing into a field, and so not ours. @param {KeyboardEvent} event */
export function isTyping(event) {
  const element = event.target;
  return element instanceof HTMLElement && (element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName))
    && !/^(checkbox|radio|button)$/.test(element.type ?? "");
}

/** The title of the browser's tab while the view is shown. @param {string | null | undefined} text */
export function useTitle(text) {
  useEffect(() => {
    document.title = text ? `${text} · Trimtab` : "Trimtab";
  }, [text]);
}
