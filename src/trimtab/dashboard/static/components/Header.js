import { html, useLayoutEffect } from "../lib/ui.js";
import { useMedia, useStored } from "../lib/dom.js";
import { useInfo } from "../lib/info.js";
import { t, useLanguage } from "../lib/i18n.js";
import { Button } from "./Button.js";

const LINKS = [["runs", "#/"], ["compare", "#/compare"]];
const THEMES = ["auto", "light", "dark"];
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };

/** Name, folder, where one can go, and the two switches. */
export function Header({ route }) {
  const info = useInfo();
  const folder = info.folder;
  const short = folder.split("/").filter(Boolean).slice(-2).join("/");
  return html`<header class="header">
    <a class="brand" href="#/" aria-label="Trimtab"><${Sign} /><span>Trimtab</span></a>
    ${folder && html`<span class="folder mono cut" title=${t("shell.folder", { folder })}>${short}</span>`}
    <nav class="links" aria-label=${t("shell.nav")}>
      ${LINKS.map(([view, href]) => html`<a key=${view} href=${href} class="link"
        aria-current=${route.view === view || (view === "runs" && route.view === "run") ? "page" : undefined}>${t(`shell.${view}`)}</a>`)}
    </nav>
    <div class="switches">
      ${info.can_start && html`<${Button} kind="primary" href="#/start" class="start-link" aria-current=${route.view === "start" ? "page" : undefined}>
        <span aria-hidden="true">+</span> ${t("shell.start")}<//>`}
      <${LanguageSwitch} /><${ThemeSwitch} /></div>
  </header>`;
}

function Sign() {
  return html`<svg class="brand-sign" viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
    <rect width="32" height="32" rx="7" fill="#1d57c4" />
    <path d="M5 11.5 L21 14 V18 L5 20.5 Z" fill="#fff" />
    <path d="M22.5 14.6 L28 9.5 V13.5 L22.5 17.4 Z" fill="#9cc1ff" />
  </svg>`;
}

function LanguageSwitch() {
  const [lang, setLanguage] = useLanguage();
  const other = lang === "en" ? "zh" : "en";
  return html`<${Button} kind="quiet" class="switch-language" lang=${other === "zh" ? "zh-CN" : "en"} title=${t("shell.language.title")}
    onClick=${() => setLanguage(other)}>${t("shell.language")}<//>`;
}

function ThemeSwitch() {
  const [theme, setTheme] = useStored("theme", "auto");
  const dark = useMedia("(prefers-color-scheme: dark)");
  useLayoutEffect(() => {
    const system = dark ? "dark" : "light";
    document.documentElement.dataset.theme = theme === "light" || theme === "dark" ? theme : system;
  }, [theme, dark]);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  return html`<${Button} kind="icon" class="switch-theme" label=${t("shell.theme", { theme: t(`shell.theme.${theme}`) })}
    onClick=${() => setTheme(next)}><span aria-hidden="true">${SIGNS[theme]}</span><//>`;
}
