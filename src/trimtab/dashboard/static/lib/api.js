// Talks to the server. Every answer that is not 2xx becomes an ApiError with what to do about it.
import { t } from "./i18n.js";

/** An answer that is an error, or no answer at all (status 0). */
export class ApiError extends Error {
  /**
   * @param {string} message what is wrong
   * @param {string} remedy what to do about it; may be empty
   * @param {number} status HTTP status, 0 if the server was not reached
   */
  constructor(message, remedy = "", status = 0) {
    super(message);
    this.name = "ApiError";
    this.remedy = remedy;
    this.status = status;
  }
}

/**
 * The address of one run: its id is a path, and travels as one segment.
 * @param {string} id
 * @param {string} [tail] for example "/series?points=1500"
 * @returns {string}
 */
export function runPath(id, tail = "") {
  return `/api/runs/${encodeURIComponent(id)}${tail}`;
}

/** @param {string} path @returns {Promise<any>} */
export function get(path) {
  return ask(path, { headers: { Accept: "application/json" } });
}

/** @param {string} path @param {any} [body] @returns {Promise<any>} */
export function post(path, body = {}) {
  return change(path, { "Content-Type": "application/json" }, JSON.stringify(body));
}

/** Sends a file. @param {string} path @param {FormData} form @returns {Promise<any>} */
export function upload(path, form) {
  return change(path, {}, form);
}

async function change(path, headers, body) {
  const send = () => ask(path, { method: "POST", headers: { ...headers, "X-Trimtab-Token": token(document) }, body });
  try {
    return await send();
  } catch (error) {
    // A server that was started again has a new token; the page that was open all along fetches it and goes on.
    if (error.status !== 403 || !(await renewToken())) throw error;
    return send();
  }
}

function token(page) {
  return page.querySelector('meta[name="trimtab-token"]')?.content ?? "";
}

async function renewToken() {
  try {
    const answer = await fetch("/", { credentials: "same-origin", cache: "no-store" });
    const fresh = token(new DOMParser().parseFromString(await answer.text(), "text/html"));
    if (!answer.ok || !fresh || fresh === token(document)) return false;
    document.querySelector('meta[name="trimtab-token"]').content = fresh;
    return true;
  } catch {
    return false;
  }
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch {
    report(false);
    throw new ApiError(t("api.unreachable"), t("api.unreachable.remedy"), 0);
  }
  const text = await response.text();
  const answer = parsed(text);
  if (response.ok) {
    report(true);
    return answer ?? text;
  }
  const error = answer?.error ?? {};
  throw new ApiError(error.message ?? t("api.failed", { status: response.status }), error.remedy ?? "", response.status);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// ---- live streams ----

const RETRY = [500, 1000, 2000, 4000, 8000]; // ms
const SILENCE = 45_000; // ms; the server pings every 15 s, so three missed pings mean that nobody is there
const UNSEEN = 60_000; // ms; browsers open six connections to a host, and tabs that nobody looks at shall not hold them

const watchers = new Set();
let connected = true;

/**
 * Calls back with false when the server is lost and true when it is back.
 * @param {(up: boolean) => void} callback @returns {() => void} ends it
 */
export function onConnection(callback) {
  watchers.add(callback);
  return () => watchers.delete(callback);
}

function report(up) {
  if (up === connected) return;
  connected = up;
  for (const callback of [...watchers]) callback(up);
}

/**
 * Server-sent events, for as long as the page wants them. A lost connection is opened again, first soon, then every
 * 8 s; after each reopening `handlers.open({again: true})` is called, so that the view asks anew for what it missed. In a
 * tab that is hidden for more than a minute it is closed, until the tab is shown again.
 * @param {string | (() => string)} path a function is asked at each opening (for `?revision=N`)
 * @param {Record<string, (data: any) => void>} handlers by event name; `open` and `lost` are the stream's own
 * @returns {() => void} closes it
 */
export function stream(path, handlers) {
  let source = null;
  let timer = null;
  let watchdog = null;
  let sleep = null;
  let failures = 0;
  let opened = false;
  let closed = false;

  const alive = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(lose, SILENCE);
  };
  const lose = () => {
    if (closed) return;
    source?.close();
    source = null;
    clearTimeout(watchdog);
    clearTimeout(timer);
    report(false);
    handlers.lost?.({});
    timer = setTimeout(connect, RETRY[Math.min(failures, RETRY.length - 1)]);
    failures += 1;
  };
  const connect = () => {
    clearTimeout(timer);
    if (closed) return;
    source = new EventSource(typeof path === "function" ? path() : path);
    source.onopen = () => {
      failures = 0;
      report(true);
      alive();
      handlers.open?.({ again: opened });
      opened = true;
    };
    source.onerror = lose;
    source.addEventListener("ping", alive);
    for (const [name, handle] of Object.entries(handlers)) {
      if (name === "open" || name === "lost") continue;
      source.addEventListener(name, (event) => {
        alive();
        const data = parsed(event.data);
        if (data !== null) handle(data);
      });
    }
  };
  const rest = () => {
    if (document.visibilityState !== "hidden") return;
    clearTimeout(timer);
    clearTimeout(watchdog);
    source?.close();
    source = null;
  };
  const wake = () => {
    clearTimeout(sleep);
    if (document.visibilityState === "hidden") sleep = setTimeout(rest, UNSEEN);
    else if (!source && !closed) connect();
  };

  connect();
  wake(); // a page may be opened in a tab behind
  window.addEventListener("online", wake);
  document.addEventListener("visibilitychange", wake);
  return () => {
    closed = true;
    clearTimeout(timer);
    clearTimeout(watchdog);
    clearTimeout(sleep);
    window.removeEventListener("online", wake);
    document.removeEventListener("visibilitychange", wake);
    source?.close();
  };
}
