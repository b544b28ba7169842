// How much of the spread of a metric goes with each recipe key: variance explained by a one-way split, less what a split
// into such groups explains by chance (found by shuffling the values), as a share of what is left.

import { short, textOf } from "./axes.js";

const GROUPS = 4;
const SHUFFLES = 400;
export const FEWEST = 8;

/**
 * @typedef {{key: string, share: number, explained: number, chance: number, p: number, groups: {name: string, n: number, mean: number}[]}} Importance
 * share: of the variance beyond chance, from 0 to 1; explained: as it stands; chance: what shuffled values give on average;
 * p: how often shuffled values explain as much
 */

/**
 * @param {{key: string, values: Record<string, any>}[]} differs @param {Record<string, number>} metric run -> value
 * @returns {Importance[]} the greatest share first; keys whose groups say nothing are left out
 */
export function importances(differs, metric) {
  const ids = Object.keys(metric).filter((id) => Number.isFinite(metric[id]));
  if (ids.length < FEWEST) return [];
  const y = ids.map((id) => metric[id]);
  const found = differs.map(({ key, values }) => {
    const { member, names } = split(ids.map((id) => values[id] ?? null));
    // One group, or a group for each run, splits nothing.
    if (names.length < 2 || names.length > ids.length / 2) return null;
    const explained = etaSquared(member, y, names.length);
    const { mean: chance, p } = shuffled(member, y, names.length, explained);
    const share = chance < 1 ? Math.max(0, (explained - chance) / (1 - chance)) : 0;
    return { key, share, explained, chance, p, groups: names.map((name, g) => groupOf(name, member, y, g)) };
  });
  return found.filter(Boolean).sort((a, b) => b.share - a.share);
}

function groupOf(name, member, y, g) {
  const own = y.filter((_, i) => member[i] === g);
  return { name, n: own.length, mean: own.reduce((sum, value) => sum + value, 0) / own.length };
}

/**
 * The group of each run: a value each; numbers of more than four values by quarters of their order.
 * @param {any[]} values @returns {{member: number[], names: string[]}}
 */
export function split(values) {
  const texts = values.map((value) => (value === null ? "–" : textOf(value)));
  const distinct = [...new Set(texts)];
  const numeric = values.every((value) => typeof value === "number");
  if (!numeric || distinct.length <= GROUPS) {
    const order = distinct.sort((a, b) => (numeric ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true })));
    return { member: texts.map((text) => order.indexOf(text)), names: order };
  }
  const sorted = [...values].sort((a, b) => a - b);
  const cuts = Array.from({ length: GROUPS - 1 }, (_, i) => sorted[Math.floor(((i + 1) * sorted.length) / GROUPS)]);
  const groups = values.map((value) => cuts.filter((cut) => value >= cut).length);
  const used = [...new Set(groups)].sort((a, b) => a - b);
  const names = used.map((g) => {
    const own = values.filter((_, i) => groups[i] === g);
    return `${short(Math.min(...own))} … ${short(Math.max(...own))}`;
  });
  return { member: groups.map((g) => used.indexOf(g)), names };
}

/** Variance between groups as a share of all; 0 where nothing varies. @param {number[]} member @param {number[]} y @param {number} count */
export function etaSquared(member, y, count) {
  const mean = y.reduce((sum, value) => sum + value, 0) / y.length;
  const total = y.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  if (total <= 1e-24) return 0;
  const sums = new Array(count).fill(0);
  const sizes = new Array(count).fill(0);
  y.forEach((value, i) => { sums[member[i]] += value - mean; sizes[member[i]] += 1; });
  return sums.reduce((sum, own, g) => sum + (sizes[g] ? (own * own) / sizes[g] : 0), 0) / total;
}

function shuffled(member, y, count, observed) {
  const draw = random(12345);
  const order = [...y];
  let sum = 0;
  let reached = 0;
  for (let round = 0; round < SHUFFLES; round += 1) {
    for (let i = order.length - 1; i > 0; i -= 1) {
      const j = Math.floor(draw() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    const found = etaSquared(member, order, count);
    sum += found;
    if (found >= observed - 1e-12) reached += 1;
  }
  return { mean: sum / SHUFFLES, p: (reached + 1) / (SHUFFLES + 1) };
}

/** A small generator with a seed (mulberry32), so that the same runs give the same numbers. */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 4294967296;
  };
}
