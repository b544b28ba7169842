// Preact with tagged templates: html`<p>${text}</p>` escapes text by itself, so data can never become markup.
import { Fragment, createContext, h, render } from "../vendor/preact.js";
import { useCallback, useContext, useEffect, useErrorBoundary, useLayoutEffect, useMemo, useRef, useState } from "../vendor/hooks.js";
import htm from "../vendor/htm.js";

export const html = htm.bind(h);

/** A component that is drawn anew only when one of its props is another. @template T @param {T} view @returns {T} */
export function memo(view) {
  return function Memo(props) {
    this.shouldComponentUpdate = (next) => Object.keys({ ...next, ...this.props }).some((key) => next[key] !== this.props[key]);
    return h(view, props);
  };
}
export {
  Fragment, createContext, render,
  useCallback, useContext, useEffect, useErrorBoundary, useLayoutEffect, useMemo, useRef, useState,
};
