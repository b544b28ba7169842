"""What can be told of the page from its files: its words in both languages, and no way for data to become markup."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[3] / "src" / "trimtab" / "dashboard" / "static"
TEXTS = sorted((STATIC / "text").glob("*.js"))
SCRIPTS = sorted(path for path in STATIC.rglob("*.js") if "vendor" not in path.parts)
LITERAL = r'"(?:[^"\\]|\\.)*"'


def words(path: Path) -> dict[str, dict[str, str]]:
    """The two tables of a file, read by node, or, where node is not, by their lines."""
    if shutil.which("node"):
        # As text of a module: node reads a .js file as one only from version 22 on.
        source = path.read_text() + "\nconsole.log(JSON.stringify({ en, zh }));"
        done = subprocess.run(
            ["node", "--input-type=module"], input=source, cwd=path.parent, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)
    tables: dict[str, dict[str, str]] = {}
    for name, body in re.findall(r"export const (en|zh) = \{(.*?)^\};", path.read_text(), re.DOTALL | re.MULTILINE):
        pairs = re.findall(rf"^\s*({LITERAL}):\s*({LITERAL}),", body, re.MULTILINE)
        tables[name] = {json.loads(key): json.loads(value) for key, value in pairs}
    return tables


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_both_languages_have_the_same_keys_and_blanks(path: Path) -> None:
    tables = words(path)
    english, chinese = tables["en"], tables["zh"]
    assert english, "no words were found"
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert chinese[key].strip(), key
        assert set(re.findall(r"\{\w+\}", text)) >= set(re.findall(r"\{\w+\}", chinese[key])), key


def test_every_key_that_the_scripts_name_has_words() -> None:
    known: set[str] = set()
    for path in TEXTS:
        known |= words(path)["en"].keys()
    missing = {
        f"{path.relative_to(STATIC)}: {key}"
        for path in SCRIPTS
        for key in re.findall(r"""\bt\(\s*["']([\w.\-]+)["']\s*[,)]""", path.read_text())
        if key not in known
    }
    assert missing == set()


def test_no_key_is_given_twice_with_different_words() -> None:
    seen: dict[str, tuple[str, str]] = {}
    for path in TEXTS:
        for key, text in words(path)["en"].items():
            assert seen.setdefault(key, (text, path.name))[0] == text, f"{key}: {seen[key][1]} and {path.name}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(STATIC)))
def test_scripts_write_text_never_markup(path: Path) -> None:
    found = re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path.read_text()
    )
    assert found == []


def test_nothing_is_asked_from_elsewhere() -> None:
    for path in [*SCRIPTS, *STATIC.glob("*.html"), *(STATIC / "css").glob("*.css")]:
        addresses = re.findall(r"https?://[^\s\"'`)]+", path.read_text())
        assert [address for address in addresses if "www.w3.org" not in address] == [], path.name
