"""Write the documents that are derived from the code. Usage: python scripts/write_docs.py (or: make docs)."""

from __future__ import annotations

import json
from pathlib import Path

from trimtab.config.render import recipe_markdown
from trimtab.monitor.catalogue import autopilot_markdown, conditions_markdown

REPOSITORY = Path(__file__).resolve().parents[1]
DOCTOR = REPOSITORY / "docs" / "doctor.md"
DOCTOR_FIGURES = REPOSITORY / "benchmarks" / "results" / "doctor.json"

_MADE = "<!-- Made by scripts/write_docs.py from the code (make docs). Do not edit it here. -->"

_RECIPE_HEADER = """\
<!-- Made by scripts/write_docs.py from the code (make docs). Do not edit it here. -->

# Recipe reference

A recipe describes a whole run. Every key below can be written in three places; the later one wins:

1. in a YAML file, given as `trimtab train DATA --recipe FILE` or as `trimtab train recipe.yaml`;
2. as a flag, for the keys that have one;
3. as `--set KEY=VALUE`, for every key. Repeat it for more keys.

From Python, `trimtab.train(data, recipe="FILE", settings={"optimizer.learning_rate": 3e-5})` does the same.

`auto` means that Trimtab works the value out from the data, the model and the hardware. The `recipe.yaml` of a run
holds the value that was used, where it came from, and for `auto` the reason. A misspelt key is an error that names the
nearest key; all faults of a recipe are told at once.

`trimtab recipe` prints the same keys as a commented YAML file, `trimtab recipe --json` as a JSON schema.

A plugin section (`task`, `strategy`) takes a name, or a mapping with the name and its options:

```yaml
strategy:
  name: partial
  last_blocks: 2
```

"""


def documents() -> dict[Path, str]:
    """Every derived document: its path and its text."""
    return {REPOSITORY / "docs" / "recipe.md": _RECIPE_HEADER + recipe_markdown(), DOCTOR: _doctor_page()}


def _doctor_page() -> str:
    """The page as it stands, what is derived in it written anew."""
    measured = json.loads(DOCTOR_FIGURES.read_text(encoding="utf-8")) if DOCTOR_FIGURES.is_file() else None
    text = _between(DOCTOR.read_text(encoding="utf-8"), "autopilot", autopilot_markdown())
    return _between(text, "conditions", conditions_markdown(measured))


def _between(text: str, name: str, content: str) -> str:
    """`text` with what stands between the markers of `name` replaced."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    head, _, rest = text.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"The markers {begin} and {end} are missing.")
    return f"{head}{begin}\n{_MADE}\n\n{content.strip()}\n\n{end}{tail}"


def main() -> None:
    """Write them all."""
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
        print(f"Wrote {path.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
