// What the comparison shows: the runs with the keys that differ, and the curves and figures of the first twenty.
import { useEffect, useRef, useState } from "../../lib/ui.js";
import { ApiError, get, runPath, stream } from "../../lib/api.js";
import { joinIds } from "../../lib/router.js";
import { firstTime } from "../../charts/data.js";

export const MOST_CURVES = 20;
const POINTS = 600;
const AT_ONCE = 4;
const PAUSE = 4000; // ms between two looks at a run that goes on
const EMPTY = { runs: [], differs: [], groups: [] };

/**
 * @param {string[]} ids
 * @returns {{found: {runs: any[], differs: any[], groups: any[]} | null, curves: Record<string, Record<string, any>>,
 *   evaluations: Record<string, any>, error: Error | null, retry: () => void}}
 *   curves: run -> table name -> table with `origin`, the run's own start; those of runs that failed to load are missing
 */
export function useComparison(ids) {
  const [found, setFound] = useState(null);
  const [curves, setCurves] = useState({});
  const [evaluations, setEvaluations] = useState({});
  const [error, setError] = useState(null);
  const [round, setRound] = useState(0);
  const place = ids.join("\n");
  const latest = useRef({});
  latest.current = { ids, curves };

  useEffect(() => {
    if (!ids.length) {
      setFound(EMPTY);
      return undefined;
    }
    let wanted = true;
    const look = () => ask(ids).then(
      (answer) => { if (wanted) { setFound(answer); setError(null); } },
      (problem) => wanted && setError(problem),
    );
    const fetchRun = async (id) => {
      const [series, detail] = await Promise.allSettled([get(runPath(id, `/series?points=${POINTS}&tables=step,evaluation`)), get(runPath(id))]);
      if (!wanted) return;
      if (series.status === "fulfilled") setCurves((old) => ({ ...old, [id]: placed(series.value.tables) }));
      if (detail.status === "fulfilled") setEvaluations((old) => ({ ...old, [id]: detail.value.evaluation ?? {} }));
    };
    look();
    const waiting = ids.slice(0, MOST_CURVES).filter((id) => round > 0 || !latest.current.curves[id]);
    Array.from({ length: AT_ONCE }, async () => {
      for (let id = waiting.shift(); id !== undefined && wanted; id = waiting.shift()) await fetchRun(id);
    });
    const close = follow(ids, look, fetchRun);
    return () => {
      wanted = false;
      close();
    };
  }, [place, round]);
  return { found, curves, evaluations, error, retry: () => setRound(round + 1) };
}

/** Runs that were deleted meanwhile are left out, so that the others are still compared. */
async function ask(ids) {
  try {
    return await get(`/api/compare?runs=${joinIds(ids)}`);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
    const { runs } = await get("/api/runs");
    const there = ids.filter((id) => runs.some((run) => run.id === id));
    if (there.length === ids.length) throw error;
    return there.length ? get(`/api/compare?runs=${joinIds(there)}`) : EMPTY;
  }
}

/** Looks again at runs that the server says have changed, each at most every few seconds. */
function follow(ids, look, fetchRun) {
  const shown = new Set(ids);
  const due = new Set();
  let timer = null;
  const close = stream("/api/stream", {
    runs: ({ changed = [], removed = [] }) => {
      for (const { id } of changed) if (shown.has(id)) due.add(id);
      if (!due.size && !removed.some((id) => shown.has(id))) return;
      timer ??= setTimeout(() => {
        timer = null;
        look();
        const drawn = ids.slice(0, MOST_CURVES).filter((id) => due.has(id));
        due.clear();
        drawn.forEach(fetchRun);
      }, PAUSE);
    },
  });
  return () => {
    clearTimeout(timer);
    close();
  };
}

/** The tables of one run, with the time at which it began: each run's time counts from its own start. */
function placed(tables) {
  const origin = firstTime(Object.values(tables));
  return Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, { ...table, origin }]));
}
