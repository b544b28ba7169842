// Where the run ran: versions, hardware, fingerprints of the data, and the command that began it.
import { html } from "../../lib/ui.js";
import { known, t } from "../../lib/i18n.js";
import { number } from "../../lib/format.js";

/** @param {{run: object}} props */
export function Environment({ run }) {
  const { command, ...rest } = run.detail.environment ?? {};
  const groups = Object.entries(rest).filter(([, value]) => value && typeof value === "object");
  const single = Object.entries(rest).filter(([, value]) => value !== null && typeof value !== "object");
  if (!groups.length && !single.length && !command) return html`<p class="empty">${t("environment.none")}</p>`;
  return html`<section class="environment" aria-label=${t("run.tab.environment")}>
    ${command && html`<div class="card"><h2>${t("environment.command")}</h2><pre tabindex="0">${Array.isArray(command) ? command.map(quoted).join(" ") : String(command)}</pre></div>`}
    <div class="environment-grid">
      ${single.length > 0 && html`<${Group} title=${t("environment.general")} entries=${single} />`}
      ${groups.map(([name, value]) => html`<${Group} key=${name} title=${label(name)} entries=${flat(value)} />`)}
    </div>
  </section>`;
}

function Group({ title, entries }) {
  if (!entries.length) return null;
  return html`<div class="card"><h2>${title}</h2><dl class="pairs">${entries.map(([key, value]) => html`<dt key=${key}>${label(key)}</dt>
    <dd class=${typeof value === "string" && value.length > 40 ? "mono small" : ""}>${typeof value === "number" ? number(value, 6) : String(value ?? "–")}</dd>`)}</dl></div>`;
}

function label(name) {
  return known(`environment.${name}`) ? t(`environment.${name}`) : name.replaceAll("_", " ");
}

function flat(value, before = "") {
  if (Array.isArray(value)) return value.length ? value.flatMap((one, i) => (one && typeof one === "object" ? flat(one, `${before}${i + 1} · `) : [[`${before}${i + 1}`, one]])) : [];
  return Object.entries(value).flatMap(([key, one]) => (one && typeof one === "object" ? flat(one, `${before}${key} · `) : [[`${before}${key}`, one]]));
}

/** An argument as a shell would want it. */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${String(text).replaceAll("'", "'\\''")}'`;
}
