// The log: what the run printed, or its events in words. It follows while the run goes on.
import { html, useEffect, useMemo, useRef, useState } from "../../lib/ui.js";
import { get, runPath } from "../../lib/api.js";
import { download } from "../../lib/dom.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../components/Button.js";
import { Notice, Waiting } from "../../components/Notice.js";
import { Toggle } from "../../components/Toggle.js";

const EVERY = 2500; // ms

/** @param {{run: object}} props */
export function Log({ run }) {
  const [text, setText] = useState(null);
  const [error, setError] = useState(null);
  const [follow, setFollow] = useState(true);
  const [words, setWords] = useState("");
  const box = useRef(null);
  useEffect(() => {
    let [wanted, timer] = [true, null];
    const load = async () => {
      try {
        const answer = await get(runPath(run.id, "/log"));
        if (!wanted) return;
        setText(typeof answer === "string" ? answer : JSON.stringify(answer, null, 2));
        setError(null);
      } catch (problem) {
        if (wanted) setError(problem);
      }
      if (wanted && run.live) timer = setTimeout(load, document.hidden ? 4 * EVERY : EVERY);
    };
    load();
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [run.id, run.live]);
  const lines = useMemo(() => (text ?? "").replace(/\n$/, "").split("\n").map(lastOfLine).filter((line) => line.toLowerCase().includes(words.toLowerCase())), [text, words]);
  useEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines, follow]);
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current;
    const end = scrollHeight - scrollTop - clientHeight < 30;
    if (end !== follow) setFollow(end);
  };
  if (text === null) return error ? html`<${Notice} error=${error} />` : html`<${Waiting} />`;
  return html`<section class="log" aria-label=${t("run.tab.log")}>
    <div class="log-bar"><input type="search" aria-label=${t("log.search")} placeholder=${t("log.search")} value=${words} onInput=${(event) => setWords(event.currentTarget.value)} />
      <${Toggle} label=${t("log.follow")} on=${follow} onChange=${setFollow} />
      <${Button} onClick=${() => download(`${run.summary.name}.log`, text)}>${t("log.save")}<//></div>
    ${error && html`<${Notice} error=${error} />`}
    <pre class="log-text" ref=${box} tabindex="0" aria-label=${t("run.tab.log")} onScroll=${scrolled}>${lines.join("\n") || t("log.empty")}</pre>
  </section>`;
}

/** Progress bars write over their line; what stood last counts. Colours of a terminal are left out. */
function lastOfLine(line) {
  // eslint-disable-next-line no-control-regex
  return line.replace(/\r+$/, "").split("\r").at(-1).replace(/\u001b\[[0-9;?]*[A-Za-z]/g, "");
}
