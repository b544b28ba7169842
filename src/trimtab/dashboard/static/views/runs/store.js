// The runs of the folder, kept while the page is open: the first answer, then what the stream says has changed.
import { useEffect, useState } from "../../lib/ui.js";
import { get, post, runPath, stream } from "../../lib/api.js";
import { toast } from "../../lib/toast.js";

const TOGETHER = 150; // ms: changes that arrive close to each other are drawn at once

const known = new Map(); // id -> Summary; outlives the view, so that coming back shows the list at once
let list = [];
let loaded = false;

/**
 * @returns {{runs: object[], loaded: boolean, error: Error | null, retry: () => void}}
 *   runs: Summaries, in no order; an entry is another object exactly when it changed
 */
export function useRuns() {
  const [, redraw] = useState(0);
  const [error, setError] = useState(null);
  const [attempt, setAttempt] = useState(0);

  useEffect(() => {
    let timer = null;
    let waiting = []; // what the stream says while the whole list is under way; it is newer than the answer
    let asking = false;
    const show = () => {
      clearTimeout(timer);
      timer = null;
      list = [...known.values()];
      redraw((n) => n + 1);
    };
    const later = () => { timer ??= setTimeout(show, TOGETHER); };
    const ask = async () => {
      asking = true;
      try {
        const answer = await get("/api/runs");
        replace(answer.runs);
        waiting.forEach(merge);
        loaded = true;
        setError(null);
        show();
      } catch (problem) {
        if (!loaded) setError(problem);
      }
      asking = false;
      waiting = [];
    };
    const leave = watch(show);
    const close = stream("/api/stream", {
      open: ask, // also after each reconnection: what was missed is asked for
      lost: () => { if (!loaded && !asking) ask(); },
      runs: (change) => {
        if (asking) waiting.push(change);
        merge(change);
        later();
      },
    });
    return () => { clearTimeout(timer); leave(); close(); };
  }, [attempt]);

  return { runs: list, loaded, error, retry: () => setAttempt((n) => n + 1) };
}

function replace(runs) {
  const ids = new Set(runs.map(({ id }) => id));
  for (const id of known.keys()) if (!ids.has(id)) known.delete(id);
  for (const run of runs) known.set(run.id, run);
}

function merge({ changed = [], removed = [] }) {
  for (const run of changed) known.set(run.id, run);
  for (const id of removed) known.delete(id);
}

const watchers = new Set();

function watch(callback) {
  watchers.add(callback);
  return () => watchers.delete(callback);
}

/**
 * Changes tags, note or archive of runs: shown at once, and taken back where the server refuses.
 * @param {string[]} ids @param {(run: object) => {tags?: string[], note?: string, archived?: boolean}} change
 * @returns {Promise<boolean>} whether all were taken
 */
export async function annotate(ids, change) {
  const tasks = ids.filter((id) => known.has(id)).map(async (id) => {
    const before = known.get(id);
    const fields = change(before);
    known.set(id, { ...before, ...fields });
    try {
      await post(runPath(id, "/notes"), fields);
      return null;
    } catch (error) {
      const now = known.get(id);
      const old = Object.fromEntries(Object.keys(fields).map((key) => [key, before[key]]));
      if (now) known.set(id, { ...now, ...old });
      return error;
    }
  });
  for (const watcher of watchers) watcher();
  const errors = (await Promise.all(tasks)).filter(Boolean);
  if (errors.length) {
    for (const watcher of watchers) watcher();
    toast({ error: errors[0] });
  }
  return errors.length === 0;
}
