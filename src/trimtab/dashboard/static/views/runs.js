// The list of the folder's runs. What is shown is in the address; what was chosen stays while the page is open.
import { html, useEffect, useMemo, useRef, useState } from "../lib/ui.js";
import { useMedia, useSize, useStored, useTitle } from "../lib/dom.js";
import { register, t } from "../lib/i18n.js";
import { useInfo } from "../lib/info.js";
import { useKeys } from "../lib/keys.js";
import { go } from "../lib/router.js";
import { toast } from "../lib/toast.js";
import { Button } from "../components/Button.js";
import { Notice, Waiting } from "../components/Notice.js";
import { needCss } from "../charts/css.js";
import { sorted } from "../components/Table.js";
import { metricScales } from "./runs/cells.js";
import { columnsFor, sortColumn } from "./runs/columns.js";
import { List } from "./runs/list.js";
import { Chosen, Empty, Help, compareHash } from "./runs/panels.js";
import { grouped, matches, queryHash, readQuery, recipeKeys } from "./runs/query.js";
import { annotate, useRuns } from "./runs/store.js";
import { Toolbar } from "./runs/toolbar.js";
import * as words from "../text/runs.js";

register(words);
await needCss("css/runs.css");

const kept = { chosen: new Set(), current: null, scroll: 0 }; // for coming back from a run's page

/** @param {{route: import("../lib/router.js").Route}} props */
export default function Runs({ route }) {
  useTitle(t("runs.title"));
  const { runs, loaded, error, retry } = useRuns();
  const root = useRef(null);
  const narrow = useMedia("(max-width: 760px)");
  if (error && !loaded) return html`<div class="page"><${Notice} error=${error} onRetry=${retry} /></div>`;
  if (!loaded) return html`<div class="page"><${Waiting} /></div>`;
  if (!runs.length) return html`<div class="page"><${Empty} /></div>`;
  return html`<div class="runs-view" ref=${root}><${Shown} runs=${runs} route=${route} narrow=${narrow} root=${root} /></div>`;
}

function Shown({ runs, route, narrow, root }) {
  const { width } = useSize(root);
  const address = JSON.stringify(route.query);
  const query = useMemo(() => readQuery(route.query), [address]);
  const setQuery = (next) => go(queryHash(next), { replace: true });
  const [picked, setColumns] = useStored("runs.columns", null);
  const [chosen, setChosen] = useState(kept.chosen);
  const [current, setCurrent] = useState(kept.current);
  const [editing, setEditing] = useState(null);
  const [folded, setFolded] = useState(() => new Set()); // keys of groups
  const [help, setHelp] = useState(false);
  const search = useRef(null);
  const control = useRef({ reveal: () => {}, order: [], last: null, heading: null }).current;
  Object.assign(kept, { chosen, current });

  const shown = useMemo(() => sorted(runs.filter((run) => matches(run, query)), sortColumn(query.sort.by), query.sort.down), [runs, query]);
  const groups = useMemo(() => (query.group ? grouped(shown, query.group, query.sort) : null), [shown, query.group, query.sort]);
  const keys = useMemo(() => recipeKeys(runs), [runs]);
  const scales = useMemo(() => metricScales(shown), [shown]);
  const tags = useMemo(() => [...new Set(runs.flatMap((run) => run.tags ?? []))].sort(), [runs]);
  const columns = columnsFor(picked, width || 1200);
  const marked = useMemo(() => runs.filter((run) => chosen.has(run.id)), [runs, chosen]);
  useKeptScroll(narrow);

  const choose = (id, on, range) => {
    const from = range ? control.order.indexOf(control.last) : -1;
    const to = control.order.indexOf(id);
    const ids = from >= 0 && to >= 0 ? control.order.slice(Math.min(from, to), Math.max(from, to) + 1) : [id];
    control.last = id;
    setChosen((old) => changed(old, ids, on));
  };
  const archive = (some, archived) => {
    const ids = some.map(({ id }) => id);
    const name = some.length === 1 ? some[0].name : "";
    annotate(ids, () => ({ archived })).then((taken) => taken && toast({
      text: t(archived ? "runs.archive.done" : "runs.archive.undone", { n: ids.length, name }), kind: "good",
      action: { label: t("runs.undo"), onClick: () => annotate(ids, () => ({ archived: !archived })) },
    }));
    setChosen((old) => changed(old, ids, false));
  };
  const allFolded = Boolean(groups?.length) && groups.every(({ key }) => folded.has(key));
  const folding = groups && { folded: allFolded, toggle: () => setFolded(new Set(allFolded ? [] : groups.map(({ key }) => key))) };
  const context = {
    columns, scales, chosen, current, choose, edit: setEditing,
    chooseAll: (on) => setChosen((old) => changed(old, shown.map(({ id }) => id), on)),
    tag: (tag) => setQuery({ ...query, facets: { ...query.facets, tag: [...new Set([...query.facets.tag, tag])] } }),
  };
  const move = useRunKeys({ runs, chosen, current, setCurrent, setChosen, setEditing, setHelp, choose, archive, control, search, editing });

  return html`
    <${Toolbar} runs=${runs} shown=${shown.length} query=${query} onQuery=${setQuery} keys=${keys} columns=${columns.map(({ id }) => id)} onColumns=${setColumns}
      narrow=${narrow} folding=${folding} search=${search} onEnter=${() => move(0, true)} onHelp=${() => setHelp(true)} />
    ${shown.length
      ? html`<${List} runs=${shown} groups=${groups} query=${query} context=${context} narrow=${narrow} editing=${editing} onEdit=${setEditing} folded=${folded} onFold=${setFolded}
          onSort=${(sort) => setQuery({ ...query, sort })} tags=${tags} control=${control} />`
      : html`<${NoMatch} runs=${runs} query=${query} onQuery=${setQuery} />`}
    ${marked.length > 0 && html`<${Chosen} runs=${marked} onClear=${() => setChosen(new Set())} onArchive=${archive} />`}
    ${help && html`<${Help} onClose=${() => setHelp(false)} />`}`;
}

function NoMatch({ runs, query, onQuery }) {
  const hidden = query.archived ? 0 : runs.filter((run) => run.archived && matches(run, { ...query, archived: true })).length;
  return html`<div class="no-match"><p>${t(hidden ? "runs.none.archived" : "runs.none", { n: hidden })}</p>
    <${Button} onClick=${() => onQuery(hidden ? { ...query, archived: true } : readQuery({}))}>${t(hidden ? "runs.archived.show.all" : "runs.clear")}<//></div>`;
}

function changed(old, ids, on) {
  const next = new Set(old);
  for (const id of ids) {
    if (on) next.add(id);
    else next.delete(id);
  }
  return next;
}

/** The keys of the list. @returns {(by: number, fromTop?: boolean) => void} moves the focus by some runs, or to the first */
function useRunKeys({ runs, chosen, current, setCurrent, setChosen, setEditing, setHelp, choose, archive, control, search, editing }) {
  const info = useInfo();
  // Where the keys have gone: to a row that is not in the page yet, else to the one with the focus, else where they were.
  const place = () => control.heading ?? document.activeElement?.closest?.("[data-run]")?.dataset.run ?? current;
  const focus = (id) => {
    setCurrent(id);
    control.reveal(id);
    control.heading = null;
    if (focusRow(id)) return;
    control.heading = id;
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (control.heading !== id) return; // gone on since
      control.heading = null;
      focusRow(id);
    }));
  };
  const move = (by, fromTop = false) => {
    const at = fromTop ? -1 : control.order.indexOf(place());
    const next = control.order[at < 0 ? 0 : Math.min(control.order.length - 1, Math.max(0, at + by))];
    if (next !== undefined) focus(next);
  };
  const here = () => runs.find(({ id }) => id === place());
  const withRun = (act) => () => {
    const run = here();
    if (run) act(run);
  };
  useKeys({
    "/": () => { search.current?.focus(); search.current?.select(); },
    j: () => move(1),
    k: () => move(-1),
    x: withRun((run) => choose(run.id, !chosen.has(run.id), false)),
    e: withRun((run) => setEditing(run.id)),
    a: withRun((run) => {
      const at = control.order.indexOf(run.id);
      const next = control.order[at + 1] ?? control.order[at - 1];
      archive([run], !run.archived);
      if (next !== undefined) focus(next); // the run leaves the list, and whoever works through it goes on
    }),
    c: () => (chosen.size > 1 ? go(compareHash([...chosen])) : toast({ text: t("runs.compare.more"), kind: "info" })),
    n: () => info.can_start && go("#/start"),
    "?": () => setHelp(true),
    Escape: () => (editing ? setEditing(null) : setChosen(new Set())),
  });
  return move;
}

/** @param {string} id @returns {boolean} whether the run's row is in the page, and now has the focus */
function focusRow(id) {
  const name = document.querySelector(`[data-run="${CSS.escape(id)}"] .run-name`);
  name?.focus({ preventScroll: true });
  return name !== null;
}

/** Coming back from a run shows the list where it was left. */
function useKeptScroll(narrow) {
  useEffect(() => {
    const box = () => (narrow ? document.scrollingElement : document.querySelector(".list-table"));
    const frame = requestAnimationFrame(() => { if (box()) box().scrollTop = kept.scroll; });
    const follow = () => { kept.scroll = box()?.scrollTop ?? 0; };
    window.addEventListener("scroll", follow, { capture: true, passive: true });
    return () => { cancelAnimationFrame(frame); window.removeEventListener("scroll", follow, { capture: true }); };
  }, [narrow]);
}
