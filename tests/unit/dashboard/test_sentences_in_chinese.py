"""Every sentence that the code makes with `say` is in the page's Chinese catalogue, with the same blanks."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trimtab.core.said import bare_template, listed, say, together

SOURCE = Path(__file__).parents[3] / "src" / "trimtab"
STATIC = SOURCE / "dashboard" / "static"
CATALOGUES = sorted((STATIC / "text" / "zh").glob("*.js"))
LITERAL = r'"(?:[^"\\]|\\.)*"'


def sentences(path: Path) -> Iterator[tuple[str, int]]:
    """The templates of a file, and their lines. One that is not written out where `say` is called fails."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "trimtab.core.said"
    ]
    if "say" not in {alias.name for node in imports for alias in node.names}:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
            template = node.args[0]
            assert isinstance(template, ast.Constant), f"{path.name}:{node.lineno}: write the template out"
            yield bare_template(template.value), node.lineno


def catalogue(path: Path) -> dict[str, str]:
    """The pairs of a file of the catalogue; a template that stands there twice fails."""
    pairs = re.findall(rf"^\s*({LITERAL}):\s*({LITERAL}),$", path.read_text(encoding="utf-8"), re.MULTILINE)
    templates = [json.loads(template) for template, _ in pairs]
    assert len(set(templates)) == len(templates), path.name
    return dict(zip(templates, (json.loads(text) for _, text in pairs), strict=True))


def everything() -> dict[str, str]:
    return {template: text for path in CATALOGUES for template, text in catalogue(path).items()}


def blanks(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


MADE = {
    template: f"{path.relative_to(SOURCE)}:{line}"
    for path in sorted(SOURCE.rglob("*.py"))
    if path.name != "said.py"
    for template, line in sentences(path)
}


def test_every_sentence_has_a_translation_and_no_translation_is_left_over() -> None:
    known = everything()
    only_blanks = {template for template in MADE if not re.sub(r"\{\w+\}", "", template).strip()}
    assert len(MADE) > 100
    assert {MADE[template]: template for template in MADE.keys() - known.keys() - only_blanks} == {}
    assert known.keys() - MADE.keys() == set()


def test_translations_have_the_same_blanks_and_are_chinese() -> None:
    for template, text in everything().items():
        assert blanks(text) == blanks(template), template
        words = re.sub(r"\{\w+\}", "", template)
        assert re.search(r"[\u4e00-\u9fff\u3001-\u303f\uff00-\uffef]", text) or len(words) < 8, template


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.name)
def test_files_hold_nothing_but_pairs(path: Path) -> None:
    pairs, lines = catalogue(path), path.read_text(encoding="utf-8").splitlines()
    assert pairs
    others = [
        line for line in lines if not re.fullmatch(rf"\s*{LITERAL}: {LITERAL},", line) and not line.startswith("  //")
    ]
    assert [line for line in others if not line.startswith("//")] == ["export const zh = {", "};"]


@pytest.fixture
def tell(tmp_path: Path) -> Callable[..., list[str]]:
    """What the page makes of sentences, given as (text, said) and told in a language."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on the PATH")
    (tmp_path / "lib").mkdir()
    shutil.copy(STATIC / "lib" / "said.js", tmp_path / "lib")
    shutil.copytree(STATIC / "text" / "zh", tmp_path / "text" / "zh")
    (tmp_path / "package.json").write_text('{"type": "module"}')

    def tell(*sentences: tuple[str, Any], language: str = "zh", function: str = "sentence") -> list[str]:
        (tmp_path / "lib" / "i18n.js").write_text(f"export const language = () => {json.dumps(language)};")
        (tmp_path / "main.js").write_text(
            f"import {{ {function} as told }} from './lib/said.js';\n"
            f"console.log(JSON.stringify({json.dumps(sentences)}.map((given) => told(...given))));"
        )
        done = subprocess.run([node, "main.js"], cwd=tmp_path, capture_output=True, text=True, check=True)
        return list(json.loads(done.stdout))

    return tell


def test_page_says_a_sentence_with_others_in_it(tell: Callable[..., list[str]]) -> None:
    name = "</script> {rows} {{x}} $&"  # of a label: nothing of it is a blank, or a pattern of JavaScript's
    leak = say("{part:,} of {whole:,} ({share})", part=1200, whole=4000, share="30 %")
    told = together(
        say("Most letters in them are {script}.", script=name),
        say("{rows} training rows repeat an earlier one: {equal:,} equal it and {near} nearly do.", rows=leak, equal=7,
            near=say("at least {count:,}", count=9)),
    )  # fmt: skip
    chinese = (
        f"其中的文字大多属于 {name}。训练行中有 1,200/4,000（30 %） 行与前面的行重复：7 行完全相同，至少 9 行近似相同。"
    )
    assert tell((told, told.to_dict())) == [chinese]
    assert tell((told, told.to_dict()), language="en") == [told]
    kept = say("rank agreement {value}", value="0.50"), say("loss on source classes {change}", change="1 → 2")
    parts = say("Retention: {parts}.", parts=listed(*kept))
    assert tell((parts, parts.to_dict())) == ["能力保留：秩一致性 0.50，源类别上的损失 1 → 2。"]


def test_page_shows_the_text_itself_where_it_has_nothing_better(tell: Callable[..., list[str]]) -> None:
    endless: dict[str, Any] = {"template": "Add rows.", "values": {}}
    for _ in range(40):
        endless = {"template": "{part1}", "values": {"part1": endless}}
    known = {"template": "Most letters in them are {script}.", "values": {"script": "Han"}}
    damaged = [
        None,
        "text",
        7,
        [],
        {},
        {"template": "Nobody says this.", "values": {}},
        {"template": "__proto__", "values": {}},
        {"template": "constructor", "values": {}},
        {**known, "values": {}},
        {**known, "values": None},
        {**known, "values": {"script": 7}},
        {**known, "values": {"script": {"template": "Nobody says this.", "values": {}}}},
        {"template": "{toString}", "values": {}},
        endless,
    ]
    assert tell(*((f"text {n}", said) for n, said in enumerate(damaged))) == [f"text {n}" for n in range(len(damaged))]


def test_page_says_phrases_with_commas_between_them(tell: Callable[..., list[str]]) -> None:
    lacking = "no training losses, no data report"
    assert tell((lacking,), ("no training losses, my own",), function="phrases") == [
        "没有训练损失；没有数据报告",
        "no training losses, my own",
    ]
    assert tell(("validation loss",), ("loss of block 3",), function="phrase") == ["验证损失", "loss of block 3"]


def test_names_of_evidence_have_words() -> None:
    """Every name that a condition writes out as a key of evidence or of a listed row, and those of dataclasses."""
    written: set[str] = set()
    for path in (SOURCE / "monitor" / "conditions").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "evidence":
                written |= {
                    key.value
                    for found in ast.walk(node.value)
                    if isinstance(found, ast.Dict)
                    for key in found.keys
                    if isinstance(key, ast.Constant)
                }
    assert len(written) > 60
    table = re.findall(r'^  "evidence\.(\w+)": ', (STATIC / "text" / "evidence.js").read_text(encoding="utf-8"), re.M)
    assert written - set(table) == set()
