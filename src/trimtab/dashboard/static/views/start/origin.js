// Where the form begins: at the defaults, at another run's recipe, or there with the change that a finding proposes.
import { useEffect, useState } from "../../lib/ui.js";
import { get, post, runPath } from "../../lib/api.js";
import { same } from "./values.js";

const PLAIN = { base: null, proposed: null, run: "", name: "", finding: null, changed: null, error: null };

/**
 * @param {string} run id, or empty @param {string} finding its index, or empty
 * @returns {{key: string, base: object | null | undefined, proposed: object | null, run: string, name: string,
 *   finding: object | null, changed: string[] | null, error: Error | null, retry: () => void}}
 *   base is undefined while it is asked for
 */
export function useOrigin(run, finding) {
  const [state, setState] = useState(run ? { ...PLAIN, base: undefined } : PLAIN);
  const [round, setRound] = useState(0);
  useEffect(() => {
    let wanted = true;
    setState(run ? { ...PLAIN, base: undefined } : PLAIN);
    if (run) load(run, finding).then((found) => wanted && setState(found), (error) => wanted && setState({ ...PLAIN, base: undefined, error }));
    return () => { wanted = false; };
  }, [run, finding, round]);
  return { ...state, key: `${run}#${finding}`, retry: () => setRound(round + 1) };
}

async function load(run, finding) {
  const { values: base } = await get(`/api/draft?run=${encodeURIComponent(run)}`);
  const begun = { ...PLAIN, base, run, name: run.split("/").at(-1) };
  if (finding === "") return begun;
  const [{ draft }, detail] = await Promise.all([
    post(runPath(run, "/remedy"), { finding: Number(finding), how: "new" }),
    get(runPath(run)),
  ]);
  const proposed = draft.values ?? draft;
  const keys = new Set([...Object.keys(base), ...Object.keys(proposed)]);
  return {
    ...begun, proposed, name: detail.summary?.name ?? begun.name,
    finding: detail.findings.find(({ index }) => index === Number(finding)) ?? null,
    changed: [...keys].filter((key) => !same(base[key] ?? null, proposed[key] ?? null)),
  };
}
