// Colours: of lines by custom property, of heat maps by a map that people with any colour vision can read.
import { cssColor } from "../lib/dom.js";

/** Eight points of viridis (matplotlib, CC0): perceived lightness rises evenly, safe for colour-blind readers. */
const VIRIDIS = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"].map(parts);

function parts(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

/** @param {number} share from 0 to 1 @returns {[number, number, number]} red, green, blue from 0 to 255 */
export function heat(share) {
  const at = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return VIRIDIS[low].map((value, i) => Math.round(value + (at - low) * (VIRIDIS[low + 1][i] - value)));
}

/** A CSS colour of `heat`. @param {number} share */
export function heatColor(share) {
  return `rgb(${heat(share).join(",")})`;
}

/**
 * A colour that a canvas can take: "--series-1" and "var(--series-1)" become the value they have in this theme, and
 * "depth:0.4" the colour of a block at that depth (0 foot, 1 head), kept off the end that vanishes on the ground.
 * @param {string | undefined} color @param {number} [index] of the line, where it names no colour of its own
 */
export function resolve(color, index = 0) {
  const name = color ?? `--series-${(index % 8) + 1}`;
  if (name.startsWith("depth:")) return heatColor((isDark() ? 0.28 : 0) + 0.72 * Number(name.slice(6)));
  const property = name.match(/^(?:var\()?(--[\w-]+)\)?$/)?.[1];
  return property ? cssColor(property) || "#808080" : name;
}

/** The colour of the i-th of n blocks, for `resolve`. @param {number} i @param {number} n */
export function depthColor(i, n) {
  return `depth:${n > 1 ? (i / (n - 1)).toFixed(3) : "0.500"}`;
}

function isDark() {
  const ground = cssColor("--surface").match(/^#([0-9a-f]{6})$/i)?.[1] ?? "ffffff";
  return parseInt(ground.slice(0, 2), 16) < 128;
}

/** A colour with an alpha. @param {string} color hex, rgb(), or a name @param {number} alpha from 0 to 1 */
export function fade(color, alpha) {
  if (alpha >= 1) return color;
  return `color-mix(in srgb, ${color} ${Math.round(100 * alpha)}%, transparent)`;
}
