// The state of one run in the page: asked for once, then kept up by the run's stream. A lost connection changes nothing
// of what is shown; when it is back, everything is asked for again.
import { useCallback, useEffect, useRef, useState } from "../../lib/ui.js";
import { get, runPath, stream } from "../../lib/api.js";
import { merge } from "./tables.js";

const POINTS = 1500;
const MOST_ROWS = 6000; // of a table that grew live; then a fresh sample is asked for
const UNSEEN = 60_000; // ms between looks at a run in a hidden tab, whose stream is closed: its title tells how far it is
const EMPTY = { detail: null, summary: null, tables: null, error: null, gone: false, requests: [] };

/** States in which the run's process lives. */
export const LIVE = ["preparing", "running", "evaluating", "paused", "finishing"];

/** @param {object} state @param {{type: string}} event @returns {object} the next state */
export function reduce(state, event) {
  switch (event.type) {
    case "detail":
      return { ...state, detail: event.detail, summary: event.detail.summary, error: null, gone: false };
    case "series":
      return { ...state, tables: event.tables, error: null };
    case "error":
      return { ...state, error: event.error };
    case "points":
      return state.tables ? { ...state, tables: merge(state.tables, event.tables, event.cut) } : state;
    case "summary":
      return { ...state, summary: { ...state.summary, ...event.summary } };
    case "finding":
      return state.detail ? { ...state, detail: { ...state.detail, findings: withFinding(state.detail.findings, event.finding) } } : state;
    case "action":
      return state.detail ? { ...state, detail: { ...state.detail, actions: withAction(state.detail.actions, event.action) } } : state;
    case "request":
      return { ...state, requests: [...state.requests.filter(({ key }) => key !== event.request.key), event.request] };
    case "dismiss":
      return { ...state, requests: state.requests.filter(({ key }) => key !== event.key) };
    case "gone":
      return { ...state, gone: true };
    default:
      return state;
  }
}

function withFinding(findings, finding) {
  const at = findings.findIndex((old) => (finding.index !== undefined ? old.index === finding.index : old.name === finding.name));
  if (at < 0) return [...findings, finding];
  return findings.map((old, i) => (i === at ? { ...old, ...finding } : old));
}

function withAction(actions, action) {
  const same = (old) => old.step === action.step && old.time === action.time && (old.id ?? old.action) === (action.id ?? action.action);
  return actions.some(same) ? actions : [...actions, action];
}

/**
 * @param {string} id
 * @returns {{state: typeof EMPTY, dispatch: (event: object) => void, reload: () => void}}
 */
export function useRun(id) {
  const [state, set] = useState(EMPTY);
  const dispatch = useCallback((event) => set((old) => reduce(old, event)), []);
  const link = useRef(null);
  const rows = useRef(0);
  rows.current = Math.max(0, ...Object.values(state.tables ?? {}).map((table) => table.step.length));

  useEffect(() => {
    const live = connect(id, dispatch, () => rows.current);
    link.current = live;
    return () => live.close();
  }, [id]);
  return { state, dispatch, reload: () => link.current?.reload() };
}

/** Asks for a run and follows it. */
function connect(id, dispatch, rows) {
  let [revision, closed, close, timer, asked, state] = [0, false, null, null, 0, null];

  const detail = async () => {
    const answer = await get(runPath(id));
    state = answer.summary?.state ?? state;
    if (!closed) dispatch({ type: "detail", detail: answer });
  };
  const series = async () => {
    const mine = (asked += 1);
    const answer = await get(runPath(id, `/series?points=${POINTS}`));
    if (closed || mine !== asked) return;
    revision = answer.revision ?? 0;
    dispatch({ type: "series", tables: answer.tables ?? {} });
  };
  const failed = (error) => {
    if (closed) return;
    if (error.status === 404) dispatch({ type: "gone" });
    else dispatch({ type: "error", error });
  };
  const load = async () => {
    try {
      await Promise.all([detail(), series()]);
      return true;
    } catch (error) {
      failed(error);
      return false;
    }
  };
  /** The whole story once more, a little later: findings and states come in bunches. */
  const refresh = () => {
    clearTimeout(timer);
    timer = setTimeout(() => detail().catch(failed), 600);
  };
  const follow = () => {
    close = stream(() => runPath(id, `/stream?revision=${revision}`), {
      open: ({ again }) => again && load(),
      reload: () => load(),
      points: ({ tables, cut, revision: next }) => {
        revision = next ?? revision;
        dispatch({ type: "points", tables, cut });
        if (rows() > MOST_ROWS) series().catch(failed);
      },
      summary: (summary) => {
        dispatch({ type: "summary", summary });
        if (summary.state !== state) refresh();
        state = summary.state;
      },
      finding: (finding) => {
        dispatch({ type: "finding", finding });
        refresh();
      },
      action: (action) => dispatch({ type: "action", action }),
      gone: () => dispatch({ type: "gone" }),
    });
  };
  const start = async () => {
    const there = await load();
    if (!closed && there) follow();
  };
  start();
  const looks = setInterval(() => close && document.visibilityState === "hidden" && detail().catch(failed), UNSEEN);
  return {
    reload: () => (close ? load() : start()),
    close: () => {
      closed = true;
      clearTimeout(timer);
      clearInterval(looks);
      close?.();
    },
  };
}
