// Which finding comes first.
const ORDER = { refuse: 0, act: 0, warning: 1, info: 2 };

/** The worst first; of one severity the surest, then the earliest. @param {object[]} findings */
export function worstFirst(findings) {
  return [...findings].sort((a, b) => (ORDER[a.severity] ?? 3) - (ORDER[b.severity] ?? 3)
    || (b.confidence ?? 0) - (a.confidence ?? 0) || (a.since ?? 0) - (b.since ?? 0));
}
