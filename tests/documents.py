"""The documents of the repository, taken apart: fenced blocks, prose, inline code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ENGLISH, CHINESE = REPOSITORY / "README.md", REPOSITORY / "README.zh-CN.md"
TUTORIAL = REPOSITORY / "docs" / "tutorial.md"
PAGES = [
    ENGLISH,
    CHINESE,
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "CHANGELOG.md",
    REPOSITORY / "examples" / "tickets" / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
# Log and table, not instructions: other people's commands stand in them.
STRICT_PAGES = [page for page in PAGES if page.name not in ("benchmarks.md", "experiments.md")]


@dataclass(frozen=True)
class Block:
    """A fenced block: the first word of its info string, the rest of it, its text, and the line it begins at."""

    language: str
    info: str
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    found: list[Block] = []
    current: list[str] = []
    opened: tuple[str, int] | None = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("```"):
            if opened is None:
                opened, current = (line[3:].strip(), number), []
            else:
                language, _, info = opened[0].partition(" ")
                found.append(Block(language, info, "\n".join(current), opened[1]))
                opened = None
        elif opened is not None:
            current.append(line)
    assert opened is None, f"{page.name}: the block of line {opened and opened[1]} is not closed"
    return found


def prose_of(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def inline_code(page: Path) -> list[str]:
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose_of(page))]
