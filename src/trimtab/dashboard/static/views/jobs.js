// Work that the server does in a process of its own: asked for once, then looked after until it ends.
import { ApiError, get } from "../lib/api.js";

const PAUSES = [150, 300, 600, 1000]; // ms

/** What a failed job says. `problems`: the single faults, where there are several. */
export class JobError extends ApiError {
  /** @param {{message: string, remedy?: string, problems?: string[]}} error @param {string} log */
  constructor(error, log = "") {
    super(error.message, error.remedy ?? "", 0);
    this.problems = error.problems ?? [];
    this.log = log;
  }
}

/**
 * Waits for a job.
 * @param {string} id @param {{signal?: AbortSignal, onState?: (job: any) => void}} [how]
 * @returns {Promise<any>} its result
 * @throws {JobError} it failed; {ApiError} the server lost it; {DOMException} `signal` ended the wait
 */
export async function waitFor(id, { signal, onState } = {}) {
  for (let round = 0; ; round += 1) {
    signal?.throwIfAborted();
    const job = await get(`/api/jobs/${encodeURIComponent(id)}`);
    signal?.throwIfAborted();
    onState?.(job);
    if (job.state === "done") return job.result;
    if (job.state === "failed") throw new JobError(job.error ?? { message: job.log ?? "" }, job.log);
    await pause(PAUSES[Math.min(round, PAUSES.length - 1)], signal);
  }
}

/** @param {number} ms @param {AbortSignal} [signal] */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

/** Whether an error only says that nobody waits any more. */
export function isAborted(error) {
  return error?.name === "AbortError";
}
