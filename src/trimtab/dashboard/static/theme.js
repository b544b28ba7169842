// Read before anything is drawn, so that the page never flashes in the wrong colours; the header goes on from here.
document.documentElement.dataset.theme = (() => {
  try {
    const kept = JSON.parse(localStorage.getItem("trimtab.theme"));
    if (kept === "light" || kept === "dark") return kept;
  } catch {
    // Storage is forbidden or holds something else: the system's colours then.
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
})();
