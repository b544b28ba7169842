// A run keeps its colour and dash from one visit to the next, whichever others it stands beside.
import { useMemo } from "../../lib/ui.js";
import { useStored } from "../../lib/dom.js";

export const COLORS = 8;
const DASHES = [undefined, [7, 4], [2, 3]];
const REMEMBERED = 400;

/**
 * Slots of runs: one that is kept where no other run here has it, else the first free one.
 * @param {string[]} ids @param {Record<string, number>} kept @returns {Record<string, number>}
 */
export function slotsOf(ids, kept) {
  const slots = {};
  const taken = new Set();
  for (const id of ids) {
    if (Number.isInteger(kept[id]) && !taken.has(kept[id])) {
      slots[id] = kept[id];
      taken.add(kept[id]);
    }
  }
  let next = 0;
  for (const id of ids.filter((one) => !(one in slots))) {
    while (taken.has(next)) next += 1;
    slots[id] = next;
    taken.add(next);
  }
  return slots;
}

/** @param {number} slot @returns {{color: string, dash: number[] | undefined}} */
export function look(slot) {
  return { color: `--series-${(slot % COLORS) + 1}`, dash: DASHES[Math.floor(slot / COLORS) % DASHES.length] };
}

/** @param {string[]} ids @returns {Record<string, {color: string, dash: number[] | undefined}>} */
export function useLooks(ids) {
  const [kept, keep] = useStored("compare.colors", {});
  return useMemo(() => {
    const slots = slotsOf(ids, kept);
    if (ids.some((id) => kept[id] !== slots[id])) {
      keep((old) => Object.fromEntries(Object.entries({ ...old, ...slots }).slice(-REMEMBERED)));
    }
    return Object.fromEntries(ids.map((id) => [id, look(slots[id])]));
  }, [ids.join("\n")]);
}
