"""Reports and model card: complete, escaped, self-contained, without private rows."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from trimtab.config.recipe import EvaluationSection
from trimtab.core.errors import RunError
from trimtab.core.runs import RunDirectory
from trimtab.evaluation.effort import memory_sentence, prefix_sentence
from trimtab.evaluation.evaluate import evaluate_classification
from trimtab.evaluation.rendering import duration, escape_markdown, flatten
from trimtab.evaluation.report import (
    ReportContext,
    render_card,
    render_html,
    render_markdown,
    write_reports,
)

EVIL = "<script>alert('x')</script>"
VOID = {"meta", "br", "img", "link", "input", "hr"}


def context(names: tuple[str, ...] = ("cat", "dog", "owl"), **changes: Any) -> ReportContext:
    """A report of 90 rows with some mistakes."""
    labels = np.random.default_rng(0).integers(len(names), size=90)
    predicted = np.where(np.arange(90) < 12, (labels + 1) % len(names), labels)
    probabilities = np.full((90, len(names)), 0.1 / max(1, len(names) - 1))
    probabilities[np.arange(90), predicted] = 0.9
    result = evaluate_classification(
        labels, probabilities, names, split="test",
        section=EvaluationSection(bootstrap_samples=100, target="macro_f1=0.99"),
        primary_metric="macro_f1", seed=0, baseline_predictions={"majority class": np.zeros(90, int)},
    )  # fmt: skip
    values: dict[str, Any] = {
        "title": "pets-starter-1",
        "task": "text-classification",
        "recipe": {"seed": 0, "model": {"name": "starter"}, "strategy": {"name": "full"}},
        "origins": {"seed": "default", "model.name": "flag --model"},
        "environment": {"packages": {"torch": "2.9"}, "python": "3.12"},
        "dataset": {"name": "pets", "rows": {"train": 400, "test": 90}, "labels": list(names), "notes": ["a note"]},
        "findings": [{"name": "duplicates", "severity": "warning", "message": "3 × 'my cat'", "remedy": "Drop them."}],
        "strategy": {
            "name": "full", "trained": 75, "parameters": 100,
            "blocks": [{"block": "head", "parameters": 100, "trained": 75}],
        },
        "history": [
            {"type": "step", "step": step, "loss": 1 / step, "learning_rates": {"all": 1e-4}} for step in range(1, 20)
        ] + [{"type": "evaluation", "step": 10, "metrics": {"loss": 0.4, "macro_f1": 0.8}}],
        "result": result,
        "worst": [{"row": 4, "text": "my secret cat", "label": "cat", "prediction": "dog", "probability": 0.99}],
        "timing": {"training": 3725.0, "evaluation": 4.2, "device": "cpu"},
        **changes,
    }  # fmt: skip
    return ReportContext(**values)


class Outline(HTMLParser):
    """Collects tags and checks that each is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [str(value) for name, value in attrs if name in ("src", "href")]
        self.sources += [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def test_page_holds_the_whole_story() -> None:
    report = context()
    page = render_html(report)
    assert outline(page).tags.count("svg") == 3
    for expected in (
        report.result.verdict, "pets-starter-1", "majority class", "Drop them.", "my secret cat", "1 h 02 min", "4.2 s",
        "flag --model", "packages.torch", "75 of 100 parameters (75.0 %)", "a note",
    ):  # fmt: skip
        assert expected in page
    assert report.result.target is not None
    assert f'<p class="bad">{report.result.target.sentence}' in page


def test_page_needs_nothing_from_outside() -> None:
    page = render_html(context())
    assert outline(page).sources == []
    assert not re.search(r"https?://|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page


def test_page_escapes_everything() -> None:
    report = context(
        names=(EVIL, "dog", "owl\"'><img src=x onerror=alert(1)>"),
        title=EVIL,
        recipe={"model": {"name": EVIL}, EVIL: EVIL},
        origins={EVIL: EVIL},
        environment={EVIL: EVIL},
        dataset={"name": EVIL, "rows": {EVIL: 3}, "notes": [EVIL]},
        findings=[{"name": EVIL, "severity": EVIL, "message": EVIL, "remedy": EVIL}],
        strategy={
            "name": EVIL,
            "trained": 1,
            "parameters": 2,
            "blocks": [{"block": EVIL, "parameters": 2, "trained": 1}],
        },
        worst=[{"row": EVIL, "text": EVIL, "label": EVIL, "prediction": EVIL, "probability": 0.9}],
        timing={EVIL: EVIL},
    )
    report = dataclasses.replace(
        report, result=dataclasses.replace(report.result, verdict=EVIL, notes=(EVIL,), primary_metric=EVIL)
    )
    history = [{"type": "evaluation", "step": 1, "metrics": {EVIL: 0.5}}]
    found = outline(render_html(dataclasses.replace(report, history=history)))
    assert "script" not in found.tags
    assert "img" not in found.tags
    assert found.sources == []
    assert found.tags.count("svg") == 1
    for text in (render_markdown(report), render_card(report).split("\n---\n", 1)[1]):
        assert "<script" not in text
        assert "<img" not in text


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([], "No training steps are recorded."),
        ([{"type": "step", "step": 1, "loss": None}], "No step had a finite value to draw."),
        ([{"type": "step", "step": 1, "loss": None, "skipped": "NaN"}], "1 step had no finite loss or gradient"),
        ([{"type": "step", "step": 1, "loss": 0.5, "learning_rates": {"all": 1e-4}}], "<circle"),
    ],
)
def test_scant_histories(history: list, message: str) -> None:
    page = render_html(context(history=history))
    outline(page)
    assert message in page


def test_least_context_renders() -> None:
    report = context(
        recipe={}, origins={}, environment={}, dataset={}, findings=[], strategy={}, history=[], worst=[], timing={}
    )
    outline(render_html(report))
    assert "found nothing to warn of" in render_html(report)
    assert render_markdown(report).startswith("# pets-starter-1\n")
    assert render_card(report).startswith("---\n")


def test_many_labels_get_a_list_instead_of_a_matrix() -> None:
    page = render_html(context(names=tuple(f"label {index:02d}" for index in range(40))))
    assert 'class="matrix"' not in page
    assert "most frequent confusions" in page
    assert 'class="matrix"' in render_html(context())


def test_markdown_tables_are_whole() -> None:
    lines = render_markdown(context(names=("a|b", "c\nd", "*e*"))).splitlines()
    for index, line in enumerate(lines):
        if re.match(r"\| -", line):
            columns = line.count("|")
            assert len(re.findall(r"(?<!\\)\|", lines[index - 1])) == columns
            assert lines[index - 2] == ""
            row = index + 1
            while row < len(lines) and lines[row].startswith("|"):
                assert len(re.findall(r"(?<!\\)\|", lines[row])) == columns, lines[row]
                row += 1
            assert row > index + 1
    text = "\n".join(lines)
    assert "| a\\|b |" in text
    assert "| c d |" in text
    assert "| \\*e\\* |" in text


def front_of(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def test_card_front_matter() -> None:
    report = context()
    front = front_of(render_card(report))
    assert front["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert front["pipeline_tag"] == "text-classification"
    assert "trimtab" in front["tags"]
    (judged,) = front["model-index"][0]["results"]
    metrics = {metric["type"]: metric for metric in judged["metrics"]}
    assert list(metrics) == list(report.result.metrics)
    assert metrics["macro_f1"]["value"] == pytest.approx(report.result.primary.value, abs=1e-4)
    assert metrics["macro_f1"]["args"]["low"] == pytest.approx(report.result.primary.low, abs=1e-4)


def test_card_body_and_privacy(tmp_path: Path) -> None:
    local = tmp_path / "secret-place" / "my-encoder"
    local.mkdir(parents=True)
    card = render_card(context(recipe={"model": {"name": str(local)}}))
    assert "my-encoder fine-tuned" in card
    assert "secret" not in card
    assert "my cat" not in card
    assert "base_model" not in front_of(card)
    assert "duplicates (warning)" in card
    assert 'pipeline("text-classification", model="path/to/this/folder")' in card
    assert "Limits" in card


def test_enumerations_read_as_prose() -> None:
    report = context()
    assert "pets: 400 train, 90 test rows, 3 labels." in render_markdown(report)
    card = render_card(report)
    assert "3 labels to a text: cat, dog, owl.\n" in card
    assert re.search(r"weakest on \w+ \(F1 0\.\d+, \d+ rows\), \w+ \(F1", card)
    many = render_card(context(names=tuple(f"l{index}" for index in range(61))))
    assert "l58, l59, …\n" in many


def test_card_of_pairs_images_and_hub_models() -> None:
    pairs = render_card(context(dataset={"name": "pets", "pairs": True}, recipe={"model": {"name": "org/base"}}))
    assert '"text_pair"' in pairs
    assert front_of(pairs)["base_model"] == "org/base"
    assert 'classify("photo.jpg")' in render_card(context(task="image-classification"))


def test_card_survives_hostile_names() -> None:
    card = render_card(context(title="---\nlicense: stolen", dataset={"name": "a: b\n---\n# x"}))
    front = front_of(card)
    assert "license" not in front
    assert front["model-index"][0]["name"] == "--- license: stolen"


def test_files_are_written_where_the_contract_says(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    write_reports(run, context())
    assert sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()) == [
        "model/README.md", "report.html", "report.md",
    ]  # fmt: skip
    assert (run.model / "README.md").read_text(encoding="utf-8").startswith("---\nlibrary_name: transformers\n")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file in the way")
    with pytest.raises(RunError, match="Cannot write"):
        write_reports(RunDirectory(tmp_path), context())


def test_helpers() -> None:
    assert flatten({"a": {"b": 1, "c": {}}, "d": [2]}) == {"a.b": 1, "a.c": {}, "d": [2]}
    assert [duration(value) for value in (0.04, 59.94, 65, 3725.4, "x")] == [
        "0.0 s", "59.9 s", "1 min 05 s", "1 h 02 min", "x",
    ]  # fmt: skip
    assert escape_markdown("1. a_b <i> &amp;\n- x") == "1\\. a\\_b &lt;i&gt; &amp;amp; - x"
    assert escape_markdown("- x") == "\\- x"
    assert escape_markdown(-0.5) == "-0.5"


def test_the_report_tells_forecast_and_measured_memory() -> None:
    gib = 1 << 30
    events = [
        {"type": "memory", "step": 0, "forecast": 2 * gib},
        {"type": "memory", "step": 9, "forecast": int(1.9 * gib), "measured": int(1.8 * gib)},
    ]
    assert memory_sentence(events) == "Peak memory: 1.9 GiB forecast, 1.8 GiB measured."
    assert memory_sentence([{**events[1], "forecast": None}]) == "Peak memory: 1.8 GiB measured."
    assert memory_sentence(events[:1]) == memory_sentence([]) == ""
    told = context(history=events)
    for text in (render_html(told), render_markdown(told)):
        assert "Peak memory: 1.9 GiB forecast, 1.8 GiB measured." in text
    assert "Peak memory" not in render_html(context())


def test_the_report_tells_what_frozen_blocks_saved() -> None:
    def session(**fields: Any) -> dict[str, Any]:
        return {"type": "frozen_prefix", "computed": 0, "served": 0, "seconds": 0.0, "mib": 0.0, "notes": [], **fields}

    events = [session(computed=1200, served=3000, seconds=4.25), session(served=2000)]
    told = "Frozen blocks ran once for 1,200 rows (4.2 s); their output was read from the cache 5,000 times."
    assert prefix_sentence(events) == told
    assert prefix_sentence(events[1:]) == (
        "Frozen blocks did not run; their output was read from the cache 2,000 times."
    )
    assert prefix_sentence([session(notes=["Why not."])]) == "Why not."
    assert prefix_sentence([session()]) == prefix_sentence([]) == ""
    for text in (render_html(context(history=events)), render_markdown(context(history=events))):
        assert told in text
