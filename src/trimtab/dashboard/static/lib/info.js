// What /api/info says, asked once, for every view.
import { createContext, useContext } from "./ui.js";

/** @typedef {{version: string, folder: string, can_start: boolean, languages: string[]}} Info */
export const InfoContext = createContext({ version: "", folder: "", can_start: false, languages: ["en", "zh"] });

/** @returns {Info} */
export function useInfo() {
  return useContext(InfoContext);
}
