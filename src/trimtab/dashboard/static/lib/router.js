// Hash routes: #/ · #/run/<encoded id>[/tab] · #/compare?runs=a,b · #/start?from=<id>&finding=<i>
// The hash never reaches the server, so a refresh shows the same view whatever runs there.
import { useEffect, useState } from "../vendor/hooks.js";

/**
 * @typedef {{view: string, id: string | null, tab: string | null, query: Record<string, string>, hash: string}} Route
 * view is "runs", "run", "compare", "start", or the unknown word itself.
 */

/** @param {string} hash @returns {Route} */
export function parse(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [view = "", id, tab] = path.split("/");
  const query = Object.fromEntries(new URLSearchParams(search));
  return { view: view || "runs", id: id ? decoded(id) : null, tab: tab ? decoded(tab) : null, query, hash };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a mangled address: the view then says that there is no such run
  }
}

/** The address of a run's page. @param {string} id @param {string} [tab] */
export function runHash(id, tab = "") {
  return `#/run/${encodeURIComponent(id)}${tab ? `/${tab}` : ""}`;
}

/**
 * A hash with a query; empty values are left out. Commas in a list of ids are separators, so commas within are encoded.
 * @param {string} path for example "#/compare" @param {Record<string, any>} query
 */
export function withQuery(path, query) {
  const kept = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(kept.map(([key, value]) => [key, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}

/** Ids as one value of a query: commas stand between them, so commas in them are written otherwise. @param {string[]} ids */
export function joinIds(ids) {
  return ids.map((id) => id.replace(/[%,]/g, encodeURIComponent)).join(",");
}

/** What joinIds joined. @param {string | undefined} text from `route.query` @returns {string[]} */
export function splitIds(text) {
  return (text ?? "").split(",").filter(Boolean).map(decoded);
}

/**
 * @param {string} hash @param {{replace?: boolean}} [how] replace: no new entry in the browser's history (filters)
 */
export function go(hash, { replace = false } = {}) {
  if (hash === location.hash) return;
  if (!replace) {
    location.hash = hash;
    return;
  }
  history.replaceState(null, "", hash);
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}

/** @returns {Route} */
export function useRoute() {
  const [hash, follow] = useState(location.hash);
  useEffect(() => {
    const change = () => follow(location.hash);
    window.addEventListener("hashchange", change);
    change();
    return () => window.removeEventListener("hashchange", change);
  }, []);
  return parse(hash);
}
