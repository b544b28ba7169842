// The shell: the header, the view that the address names (loaded when it is first asked for), and what is said about
// the connection. The views know nothing of each other.
import { html, render, useEffect, useErrorBoundary, useRef, useState } from "./lib/ui.js";
import { get } from "./lib/api.js";
import { InfoContext } from "./lib/info.js";
import { language, locale, register, t, useLanguage } from "./lib/i18n.js";
import { useRoute } from "./lib/router.js";
import { Button } from "./components/Button.js";
import { Notice, Waiting } from "./components/Notice.js";
import { Header } from "./components/Header.js";
import { Connection, Toasts } from "./components/Connection.js";
import * as findings from "./text/findings.js";
import * as words from "./text/shell.js";

register(words);
register(findings);

const VIEWS = {
  runs: () => import("./views/runs.js"),
  run: () => import("./views/run.js"),
  compare: () => import("./views/compare.js"),
  start: () => import("./views/start.js"),
  try: () => import("./views/try.js"),
};
const loaded = {};

function App() {
  const route = useRoute();
  const [lang] = useLanguage();
  const info = useServerInfo();
  const main = useRef(null);
  const before = useRef(null);
  const place = `${route.view}/${route.id ?? ""}`;

  useEffect(() => {
    // A new page: readers are told by the focus, as a browser would do for a new document. Not at the first load.
    if (before.current !== null && before.current !== place) {
      main.current?.focus({ preventScroll: true });
      window.scrollTo(0, 0);
    }
    before.current = place;
  }, [place]);

  return html`<${InfoContext.Provider} value=${info}>
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current?.focus(); }}>${t("shell.skip")}</a>
    <${Header} route=${route} />
    <${Connection} />
    <main id="main" class="main main-${route.view}" tabindex="-1" ref=${main} data-language=${lang}>
      <${View} key=${place} route=${route} />
    </main>
    <${Toasts} />
  <//>`;
}

/** The view of the route, behind a boundary: an error in it leaves the header and the way home. */
function View({ route }) {
  const [error, reset] = useErrorBoundary((problem) => console.error(problem));
  const [view, setView] = useState(() => loaded[route.view] ?? null);
  const [missing, setMissing] = useState(null);
  const [attempt, setAttempt] = useState(0);

  useEffect(() => {
    const load = Object.hasOwn(VIEWS, route.view) ? VIEWS[route.view] : null;
    if (view || !load) return undefined;
    let wanted = true;
    load().then((module) => {
      loaded[route.view] = module.default;
      if (wanted) setView(() => module.default);
    }, (problem) => {
      console.error(problem);
      if (wanted) setMissing(problem);
    });
    return () => { wanted = false; };
  }, [route.view, attempt]);

  if (!Object.hasOwn(VIEWS, route.view)) return html`<${Broken} title=${t("shell.unknown")} />`;
  if (error) return html`<${Broken} title=${t("shell.broken")} text=${t("shell.broken.text")} detail=${String(error?.stack ?? error)} onRetry=${reset} />`;
  if (missing) {
    // Browsers remember a module that failed to load; only a fresh page asks for it again.
    const again = () => (attempt ? location.reload() : (setMissing(null), setAttempt(attempt + 1)));
    return html`<${Broken} title=${t("shell.unloaded")} detail=${String(missing)} onRetry=${again} />`;
  }
  if (!view) return html`<${Waiting} />`;
  return html`<${view} route=${route} />`;
}

function Broken({ title, text, detail, onRetry }) {
  return html`<div class="page"><${Notice} kind="error" title=${title}>
    ${text && html`<p>${text}</p>`}
    ${detail && html`<pre class="broken-detail" tabindex="0">${detail}</pre>`}
    <p class="buttons">${onRetry && html`<${Button} onClick=${() => onRetry()}>${t("retry")}<//>`}
      <${Button} kind="quiet" href="#/">${t("shell.home")}<//></p>
  <//></div>`;
}

/** Asked again after the server comes back: it may be another version, or another folder. */
function useServerInfo() {
  const [info, setInfo] = useState({ version: "", folder: "", can_start: false, languages: ["en", "zh"] });
  useEffect(() => {
    const ask = () => get("/api/info").then(setInfo, () => {});
    ask();
    window.addEventListener("trimtab:connected", ask);
    return () => window.removeEventListener("trimtab:connected", ask);
  }, []);
  return info;
}

document.documentElement.lang = locale();
document.documentElement.dataset.language = language();
render(html`<${App} />`, document.getElementById("app"));
