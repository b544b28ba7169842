// Trying a model: own texts, pairs or an image, with the probability of each label and the words that weigh most.
import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { get, post, runPath, upload } from "../lib/api.js";
import { register, t, useLanguage } from "../lib/i18n.js";
import { runHash } from "../lib/router.js";
import { Button } from "../components/Button.js";
import { Choice, Toggle } from "../components/Toggle.js";
import { Notice, Waiting } from "../components/Notice.js";
import { needCss } from "../charts/css.js";
import * as text from "../text/try.js";
import { Answer } from "./try/Answer.js";
import { ImageInput } from "./try/ImageInput.js";
import { History, useHistory } from "./try/History.js";

register(text);
await needCss("css/try.css");

const MOST = 100;

/** The page `#/try/<id>` (or `#/try?run=<id>`): the same as the tab of a run. @param {{route: import("../lib/router.js").Route}} props */
export default function Try({ route }) {
  const [state, setState] = useState({ summary: null, error: null });
  const id = route.id ?? route.query.run ?? "";
  useEffect(() => {
    get(runPath(id)).then(({ summary }) => setState({ summary, error: null }), (error) => setState({ summary: null, error }));
  }, [id]);
  if (state.error) return html`<div class="page"><${Notice} error=${state.error} /></div>`;
  return html`<div class="page">${state.summary ? html`<div class="page-head"><h1><a href=${runHash(id)}>${state.summary.name}</a></h1></div><${TryModel} id=${id} summary=${state.summary} />` : html`<${Waiting} />`}</div>`;
}

/**
 * The tab of a run.
 * @param {{id: string, summary: any}} props of the run; its task and columns tell what the model takes
 */
export function TryModel({ id, summary }) {
  useLanguage();
  const isImage = String(summary.task ?? "").startsWith("image");
  const [mode, setMode] = useState((summary.values?.["data.text"]?.length ?? 1) > 1 ? "pair" : "one");
  const [typed, setTyped] = useState({ text: "", pair: "" });
  const [explain, setExplain] = useState(true);
  const [state, setState] = useState({ busy: false, error: null, answers: null });
  const [history, remember, clear] = useHistory(id);
  const asked = useRef(0);
  useEffect(() => {
    asked.current += 1;
    setState({ busy: false, error: null, answers: null });
  }, [id]);

  const run = async (inputs, ask) => {
    const round = (asked.current += 1);
    setState((old) => ({ ...old, busy: true, error: null }));
    try {
      const { predictions } = await ask();
      if (round !== asked.current) return;
      const answers = predictions.map((prediction, i) => ({ input: inputs[i], prediction }));
      setState({ busy: false, error: null, answers });
      remember(answers);
    } catch (error) {
      if (round === asked.current) setState({ busy: false, error, answers: null });
    }
  };
  const predict = (inputs) => run(inputs, () => post(runPath(id, "/predict"), { inputs, explain: explain && inputs.every((input) => typeof input === "string") }));
  const predictImage = (file) => {
    const form = new FormData();
    form.append("file", file);
    return run([{ image: file.name }], () => upload(runPath(id, "/predict"), form));
  };
  const again = (input) => {
    const isPair = Array.isArray(input);
    setMode(isPair ? "pair" : "one");
    setTyped({ text: isPair ? input[0] : input, pair: isPair ? input[1] : "" });
    predict([input]);
  };
  return html`<div class="try">
    <section class="card" aria-label=${t("try.input")}>
      ${isImage ? html`<${ImageInput} busy=${state.busy} onFile=${predictImage} />`
        : html`<${TextInput} id=${id} mode=${mode} setMode=${setMode} typed=${typed} setTyped=${setTyped} explain=${explain} setExplain=${setExplain} busy=${state.busy} predict=${predict} />`}
      ${state.busy && html`<${Waiting} label=${t("try.waiting")} />`}
      ${state.error && html`<${Notice} error=${state.error} />`}
    </section>
    ${state.answers && html`<section class="try-answers" aria-live="polite" aria-label=${t("try.answer")}>${state.answers.map((answer, i) => html`<${Answer} key=${i} answer=${answer} />`)}</section>`}
    <${History} items=${history} onAgain=${isImage ? null : again} onClear=${clear} />
  </div>`;
}

/** One text, several (one a line), or a pair. */
function TextInput({ id, mode, setMode, typed, setTyped, explain, setExplain, busy, predict }) {
  const { text: first, pair } = typed;
  const lines = first.split("\n").map((line) => line.trim()).filter(Boolean);
  const inputs = mode === "pair" ? (first.trim() && pair.trim() ? [[first, pair]] : []) : mode === "several" ? lines.slice(0, MOST) : first.trim() ? [first] : [];
  const submit = (event) => {
    event.preventDefault();
    if (inputs.length && !busy) predict(inputs);
  };
  const keys = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
  };
  return html`<form onSubmit=${submit} onKeyDown=${keys}>
    <div class="try-tools">
      <${Choice} label=${t("try.mode")} value=${mode} onChange=${setMode} options=${["one", "several", "pair"].map((name) => ({ id: name, label: t(`try.mode.${name}`) }))} />
      ${mode !== "pair" && html`<${Toggle} label=${t("try.explain")} hint=${t("try.explain.hint")} on=${explain} onChange=${setExplain} />`}
      <${Example} id=${id} mode=${mode} onText=${(row) => setTyped({ text: row.text ?? "", pair: row.text_pair ?? "" })} />
    </div>
    <div class=${mode === "pair" ? "try-pair" : ""}>
      <label><span class="field-label">${t(mode === "pair" ? "try.first" : mode === "several" ? "try.lines" : "try.text")}</span>
        <textarea rows=${mode === "several" ? 7 : 4} value=${first} placeholder=${t("try.placeholder")} onInput=${(event) => setTyped({ ...typed, text: event.currentTarget.value })}></textarea></label>
      ${mode === "pair" && html`<label><span class="field-label">${t("try.second")}</span>
        <textarea rows="4" value=${pair} onInput=${(event) => setTyped({ ...typed, pair: event.currentTarget.value })}></textarea></label>`}
    </div>
    <div class="try-go"><${Button} type="submit" kind="primary" busy=${busy} disabled=${!inputs.length}>${t("try.go")}<//>
      <span class="muted small">${mode === "several" && lines.length > MOST ? t("try.most", { n: MOST }) : t("try.keys")}</span></div>
  </form>`;
}

/** Fills in a row that the model was judged on; where there are none, there is no button. */
function Example({ id, mode, onText }) {
  const [rows, setRows] = useState([]);
  const next = useRef(0);
  useEffect(() => {
    get(runPath(id, "/rows?kind=worst&page=0")).then((answer) => setRows(answer.rows.filter((row) => row.text)), () => setRows([]));
  }, [id]);
  if (!rows.length || mode === "several") return null;
  const take = () => {
    onText(rows[next.current % rows.length]);
    next.current += 1;
  };
  return html`<${Button} kind="quiet" onClick=${take} title=${t("try.example.hint")}>${t("try.example")}<//>`;
}
