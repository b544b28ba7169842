// Copies the page's libraries out of node_modules into src/trimtab/dashboard/static/vendor, where the wheel
// and a checkout's dashboard find them. There is no bundler: the files are ES modules that browsers read as they are,
// once the imports by package name point at the files beside them.
//
//   npm ci && npm run build        (or: make web)
//   node vendor.mjs FOLDER         writes into FOLDER in place of the package

import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const PACKAGES = join(HERE, "node_modules");
const TARGET = resolve(process.argv[2] ?? join(HERE, "..", "src", "trimtab", "dashboard", "static", "vendor"));

/** [file in node_modules, its name in vendor] */
const FILES = [
  ["preact/dist/preact.mjs", "preact.js"],
  ["preact/hooks/dist/hooks.mjs", "hooks.js"],
  ["htm/dist/htm.mjs", "htm.js"],
  ["uplot/dist/uPlot.esm.js", "uPlot.esm.js"],
  ["uplot/dist/uPlot.min.css", "uPlot.min.css"],
];

/** Where an import by package name leads once the files lie side by side. */
const IMPORTS = { preact: "./preact.js", "preact/hooks": "./hooks.js", htm: "./htm.js" };

/** Imports of a bare name become relative ones; a name that is not vendored is an error, not a broken page. */
function relink(text, file) {
  return text.replace(/\b(from|import)(\s*)(["'])(@?[a-z][a-z\d._/-]*)\3/g, (whole, word, space, quote, name) => {
    if (!(name in IMPORTS)) throw new Error(`${file} imports ${name}, which is not vendored: add it to FILES and IMPORTS`);
    return `${word}${space}${quote}${IMPORTS[name]}${quote}`;
  });
}

/** The source maps are not shipped, so the comments that point at them would be 404s in the developer tools. */
function withoutSourceMap(text) {
  return text.replace(/^\/\/# sourceMappingURL=.*$/gm, "").trimEnd() + "\n";
}

function licences() {
  const names = Object.keys(JSON.parse(readFileSync(join(HERE, "package.json"), "utf8")).dependencies).sort();
  const parts = names.map((name) => {
    const about = JSON.parse(readFileSync(join(PACKAGES, name, "package.json"), "utf8"));
    const text = readFileSync(join(PACKAGES, name, "LICENSE"), "utf8").trim();
    return `${name} ${about.version} (${about.license})\n${about.homepage ?? ""}\n\n${text}\n`;
  });
  return "The files in this folder come from these packages, unchanged except for the paths of their imports.\n\n"
    + parts.join(`\n${"-".repeat(80)}\n\n`);
}

/** Written aside and renamed, so that a page that is being served never reads half a file. */
function write(name, text) {
  const aside = join(TARGET, `.${name}.${process.pid}`);
  writeFileSync(aside, text);
  renameSync(aside, join(TARGET, name));
}

mkdirSync(TARGET, { recursive: true });
for (const [source, name] of FILES) {
  const text = readFileSync(join(PACKAGES, source), "utf8");
  write(name, name.endsWith(".js") ? withoutSourceMap(relink(text, source)) : text);
}
write("LICENSES.txt", licences());
console.log(`${FILES.length} files and their licences are in ${TARGET}`);
