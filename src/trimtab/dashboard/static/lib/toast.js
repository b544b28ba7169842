// Short messages at the edge of the page: what was done, or why it was not.
const watchers = new Set();
let count = 0;

/**
 * @param {{text?: string, error?: {message: string, remedy?: string}, kind?: "info" | "good" | "warning" | "error"}} message
 *   an error stays until it is closed, anything else goes by itself
 */
export function toast(message) {
  const kind = message.kind ?? (message.error ? "error" : "good");
  const shown = { ...message, kind, id: (count += 1) };
  for (const watcher of [...watchers]) watcher(shown);
}

/** For the shell. @param {(message: any) => void} callback @returns {() => void} */
export function onToast(callback) {
  watchers.add(callback);
  return () => watchers.delete(callback);
}
