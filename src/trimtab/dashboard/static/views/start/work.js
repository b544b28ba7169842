// What the form asks of the server: the data report, and the run. Both are processes of their own; a refresh finds them again.
import { useEffect, useMemo, useRef, useState } from "../../lib/ui.js";
import { ApiError, get, post, runPath, stream } from "../../lib/api.js";
import { go, runHash } from "../../lib/router.js";
import { isAborted, pause, waitFor } from "../jobs.js";
import { forget } from "./form.js";
import { faultsOf } from "./values.js";

const NOTHING = { busy: "", report: null, stamp: "", error: null, failed: "", log: "", run: "" };

/**
 * @param {any} form of `useForm`, null until it is there @param {string} key where the form is kept
 * @returns {{busy: ""|"check"|"start", report: any, isChecked: boolean, isStale: boolean, hasRefusals: boolean, isRefused: boolean, error: Error|null,
 *   failed: string, told: {byKey: Record<string, string[]>, rest: string[]}, log: string, check: () => void,
 *   start: () => void, dismiss: () => void}}
 */
export function useWork(form, key) {
  const [state, setState] = useState(NOTHING);
  const running = useRef(null);
  const change = (part) => setState((old) => ({ ...old, ...part }));
  useEffect(() => {
    setState(NOTHING);
    const going = remembered(key);
    if (going) run("start", (signal) => follow(going, signal, change, key));
    return () => running.current?.abort();
  }, [key]);

  const run = async (busy, doIt) => {
    running.current?.abort();
    const control = new AbortController();
    running.current = control;
    change({ busy, error: null, failed: "", log: "" });
    try {
      await doIt(control.signal);
      if (!control.signal.aborted) change({ busy: "" });
    } catch (error) {
      if (!isAborted(error) && !control.signal.aborted) change({ busy: "", error, failed: busy });
    }
  };
  const check = () => run("check", async (signal) => {
    const stamp = form.stamp;
    const { job } = await post("/api/check", { data: form.data.trim(), values: form.values });
    const report = await waitFor(job, { signal, onState: ({ log }) => change({ log: log ?? "" }) });
    change({ report, stamp });
  });
  const start = () => run("start", async (signal) => {
    const asked = { data: form.data.trim(), values: form.values, ...(form.name.trim() ? { name: form.name.trim() } : {}) };
    const started = await post("/api/start", asked);
    remember(key, started);
    await follow(started, signal, change, key);
  });

  const told = useMemo(
    () => (state.error && form ? faultsOf(state.error, new Set(form.fields.map((field) => field.key))) : { byKey: {}, rest: [] }),
    [state.error],
  );
  const isStale = Boolean(state.report) && state.stamp !== form?.stamp;
  const forced = form?.values["data.force"] === true;
  const hasRefusals = Boolean(state.report?.findings.some(({ severity }) => severity === "refuse"));
  return { ...state, told, isStale, hasRefusals, isRefused: hasRefusals && !forced, isChecked: Boolean(state.report) && !isStale, check, start, dismiss: () => change({ error: null, failed: "" }) };
}

/** Waits until the run is there and shows it; a command that fails before says why. */
async function follow({ run, job }, signal, change, key) {
  change({ run });
  let told = false;
  const close = stream("/api/stream", { runs: ({ changed = [] }) => { told ||= changed.some(({ id }) => id === run); } });
  try {
    for (let round = 0; ; round += 1) {
      const state = await get(`/api/jobs/${encodeURIComponent(job)}`);
      signal.throwIfAborted();
      change({ log: state.log ?? "" });
      // The stream tells of the run; now and then it is asked for, in case that was missed.
      if (told || (round % 8 === 0 && (await isThere(run)))) break;
      if (state.state === "failed") await waitFor(job, { signal }); // throws what it says
      if (state.state === "done") break; // ended before it was seen
      await pause(400, signal);
    }
  } catch (error) {
    if (!isAborted(error)) remember(key, null);
    throw error;
  } finally {
    close();
  }
  remember(key, null);
  forget(key);
  go(runHash(run));
}

async function isThere(run) {
  try {
    await get(runPath(run));
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return false;
    throw error;
  }
}

function remembered(key) {
  try {
    return JSON.parse(sessionStorage.getItem(`trimtab.starting.${key}`));
  } catch {
    return null;
  }
}

function remember(key, started) {
  try {
    if (started) sessionStorage.setItem(`trimtab.starting.${key}`, JSON.stringify(started));
    else sessionStorage.removeItem(`trimtab.starting.${key}`);
  } catch {
    // Where storage is forbidden, a refresh leaves the form; the run goes on all the same.
  }
}
