// Style sheets of what is loaded later: asked for once, and waited for, so that nothing is seen without its style.
const asked = new Map();

/** @param {string} name below static/, for example "css/run.css" @returns {Promise<void>} also where it cannot be had */
export function needCss(name) {
  if (!asked.has(name)) asked.set(name, load(new URL(`../${name}`, import.meta.url).pathname));
  return asked.get(name);
}

function load(path) {
  return new Promise((done) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = path;
    link.onload = () => done();
    link.onerror = () => done(); // an unstyled chart is better than none
    document.head.append(link);
  });
}
