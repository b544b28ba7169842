// Only the rows that can be seen are in the page, so a thousand runs cost as much as thirty.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "../../lib/ui.js";

const AHEAD = 400; // px drawn above and below what can be seen

/**
 * @param {{current: HTMLElement | null}} body the element that holds the rows
 * @param {{key: string, height: number}[]} items from top to bottom, heights in px
 * @param {() => Element | null} scroller what scrolls them: the list itself, or the page
 * @param {string} order changes where the user asked for another order, so that the list starts at its top again
 * @returns {{first: number, last: number, before: number, after: number, reveal: (key: string) => void}}
 *   items[first..last) are to be drawn, between `before` and `after` px of nothing
 */
export function useWindow(body, items, scroller, order) {
  const tops = useMemo(() => offsets(items), [items]);
  const [seen, setSeen] = useState({ top: 0, bottom: 1000 });
  const anchor = useRef(null);
  const lastOrder = useRef(order);

  const measure = () => {
    if (!body.current) return;
    const { top } = body.current.getBoundingClientRect();
    const next = { top: Math.floor((-top - AHEAD) / 100) * 100, bottom: Math.ceil((window.innerHeight - top + AHEAD) / 100) * 100 };
    setSeen((old) => (old.top === next.top && old.bottom === next.bottom ? old : next));
    anchor.current = firstShown(items, tops, body.current, scroller());
  };

  useEffect(() => {
    const scrolled = () => measure();
    // Scrolling does not bubble: caught on its way down, wherever it happens.
    window.addEventListener("scroll", scrolled, { capture: true, passive: true });
    window.addEventListener("resize", scrolled);
    return () => {
      window.removeEventListener("scroll", scrolled, { capture: true });
      window.removeEventListener("resize", scrolled);
    };
  });

  useLayoutEffect(() => {
    const box = scroller();
    if (lastOrder.current !== order) {
      lastOrder.current = order;
      if (box && box.scrollTop > 0 && body.current) box.scrollTop = box === body.current.closest(".list") ? 0 : Math.min(box.scrollTop, pageTop(body.current));
    } else if (anchor.current && box && box.scrollTop > 0) {
      // Rows came, went or moved above: the row at the top of the view stays where it is.
      const at = items.findIndex(({ key }) => key === anchor.current.key);
      if (at >= 0) box.scrollTop += tops[at] - anchor.current.top;
    }
    measure();
  }, [items, order]);

  const first = Math.max(0, upper(tops, seen.top) - 1);
  const last = Math.min(items.length, upper(tops, seen.bottom));
  return {
    first, last, before: tops[first] ?? 0, after: Math.max(0, tops[items.length] - (tops[last] ?? 0)),
    reveal: (key) => reveal(items, tops, key, body.current, scroller()),
  };
}

function offsets(items) {
  const tops = [0];
  for (const { height } of items) tops.push(tops[tops.length - 1] + height);
  return tops;
}

/** How many of the ascending numbers are not above x. */
function upper(numbers, x) {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] <= x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The edge below which rows are seen, within the body: below the list's head that sticks. */
function visibleTop(body, box) {
  const inner = box && box.contains(body) && box !== document.scrollingElement;
  const head = inner ? box.getBoundingClientRect().top + (box.querySelector("thead")?.offsetHeight ?? 0) : 0;
  return head - body.getBoundingClientRect().top;
}

function firstShown(items, tops, body, box) {
  const at = Math.max(0, upper(tops, visibleTop(body, box)) - 1);
  return at < items.length ? { key: items[at].key, top: tops[at] } : null;
}

function pageTop(body) {
  return body.getBoundingClientRect().top + window.scrollY - 60;
}

/** Scrolls just so far that the row is seen whole. */
function reveal(items, tops, key, body, box) {
  const at = items.findIndex((item) => item.key === key);
  if (at < 0 || !body || !box) return;
  const top = visibleTop(body, box);
  const height = (box === document.scrollingElement ? window.innerHeight : box.clientHeight) - (box.querySelector("thead")?.offsetHeight ?? 0);
  const margin = 12;
  if (tops[at] - margin < top) box.scrollTop += tops[at] - margin - top;
  else if (tops[at + 1] + margin > top + height) box.scrollTop += tops[at + 1] + margin - top - height;
}
