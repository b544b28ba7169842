// Numbers, times and spans as people read them. What is not there is a dash, never NaN.
import { locale, t } from "./i18n.js";

export const NOTHING = "–";
const there = (x) => typeof x === "number" && Number.isFinite(x);

/**
 * A number with `digits` significant digits, without an exponent where it can be read without one.
 * @param {number | null | undefined} x @param {number} [digits] @returns {string}
 */
export function number(x, digits = 4) {
  if (!there(x)) return NOTHING;
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size < 1e-4 || size >= 1e9) return x.toExponential(Math.max(0, digits - 2)).replace(/\.?0+e/, "e").replace("e+", "e");
  if (Number.isInteger(x)) return x.toLocaleString(locale());
  return Number(x.toPrecision(digits)).toLocaleString(locale(), { maximumSignificantDigits: digits });
}

/** 0.1234 -> "12.3 %". @param {number | null | undefined} x @param {number} [digits] after the point */
export function percent(x, digits = 1) {
  return there(x) ? `${(100 * x).toFixed(digits)} %` : NOTHING;
}

/** 12345 -> "12.3k". @param {number | null | undefined} n */
export function compact(n) {
  if (!there(n)) return NOTHING;
  if (Math.abs(n) < 10_000) return number(n, 4);
  const [size, unit] = Math.abs(n) < 1e6 ? [1e3, "k"] : Math.abs(n) < 1e9 ? [1e6, "M"] : [1e9, "G"];
  return `${Number((n / size).toPrecision(3))}${unit}`;
}

/** A span of seconds in its two greatest units. @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (!there(seconds) || seconds < 0) return NOTHING;
  if (seconds < 1) return t("time.under");
  const whole = Math.round(seconds);
  const parts = [
    [Math.floor(whole / 86400), "time.d"],
    [Math.floor(whole / 3600) % 24, "time.h"],
    [Math.floor(whole / 60) % 60, "time.m"],
    [whole % 60, "time.s"],
  ];
  const first = parts.findIndex(([n]) => n > 0);
  return parts.slice(first, first + 2).filter(([n], i) => i === 0 || n > 0).map(([n, unit]) => t(unit, { n })).join(" ");
}

/** A moment: the time today, else day and time, with the year if another. @param {number | null | undefined} epoch seconds */
export function when(epoch, now = Date.now()) {
  if (!there(epoch)) return NOTHING;
  const moment = new Date(1000 * epoch);
  const today = new Date(now);
  const clock = { hour: "2-digit", minute: "2-digit" };
  if (moment.toDateString() === today.toDateString()) return moment.toLocaleTimeString(locale(), clock);
  const year = moment.getFullYear() === today.getFullYear() ? {} : { year: "numeric" };
  return moment.toLocaleString(locale(), { ...year, month: "short", day: "numeric", ...clock });
}

/** The whole moment, for titles. @param {number | null | undefined} epoch seconds */
export function moment(epoch) {
  return there(epoch) ? new Date(1000 * epoch).toLocaleString(locale()) : NOTHING;
}

/** A measure with its interval: "0.912 [0.89, 0.93]". */
export function interval(value, low, high, digits = 3) {
  if (!there(value)) return NOTHING;
  const text = measure(value, digits);
  return there(low) && there(high) ? `${text} [${measure(low, digits)}, ${measure(high, digits)}]` : text;
}

/** A metric's value: three places after the point below 10, so that columns line up. */
export function measure(x, digits = 3) {
  if (!there(x)) return NOTHING;
  return Math.abs(x) < 10 && (x === 0 || Math.abs(x) >= 1e-3) ? x.toFixed(digits) : number(x, digits + 1);
}

/** Any value of a recipe as short text. @param {any} value @returns {string} */
export function plain(value) {
  if (value === null || value === undefined) return NOTHING;
  if (typeof value === "number") return number(value, 6);
  if (typeof value === "boolean") return value ? t("yes") : t("no");
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}
