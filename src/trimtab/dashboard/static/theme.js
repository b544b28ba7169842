// Read before anything is drawn, so that the page never flashes in the wrong colours.
try {
  const kept = JSON.parse(localStorage.getItem("trimtab.theme"));
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch {
  // Storage is forbidden or holds something else: the system's colours then.
}
