"""The doctor's pages: complete, escaped, of one piece, and honest about what the record lacks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from monitor_traces import falling, make_facts, make_trace
from test_report import context, outline

from trimtab.evaluation.diagnosis import diagnosis_view, summary
from trimtab.evaluation.diagnosis_charts import finding_charts, overview_charts
from trimtab.evaluation.diagnosis_page import render_diagnosis, write_diagnosis
from trimtab.evaluation.report import render_card, render_html, render_markdown
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace

EVIL = "</span><script>alert('x')</script><img src=x onerror=alert(1)>"
RECIPE = {"optimizer.learning_rate": 6e-4, "strategy": "full"}


def finding(**fields: Any) -> Finding:
    known: dict[str, Any] = {
        "name": "made_up_condition",
        "severity": "act",
        "message": "The loss oscillates.",
        "since": 40,
        "evidence": {"best_loss": 0.41234, "recall": {"cat": 0.5}, "steps": [1, 2, 3]},
        "remedy": "Lower the learning rate.",
        "change": {"optimizer.learning_rate": 2e-5},
        "series": (Curve("training loss", [10, 40, 80], [0.5, 1.0, 2.3]),),
        "confidence": 0.987,
        "source": "A paper, 1998",
        "rows": ({"split": "train", "row": 17, "text": "my cat", "label": "dog"},),
    }
    return Finding(**{**known, **fields})


def trace(**fields: Any) -> Trace:
    facts = make_facts(recipe=RECIPE)
    return make_trace(falling(1.0, 0.2, 80), falling(1.0, 0.5, 8), held_in=falling(1.0, 0.2, 8), facts=facts, **fields)


def with_blocks(record: Trace, blocks: int) -> Trace:
    names = ["embeddings", *(f"block {index}" for index in range(blocks)), "head"]
    for step in (10, 20, 30):
        values = {name: {"update_ratio": 1e-4, "grad_norm": 0.5, "weight_norm": 9.0} for name in names}
        record.add({"type": "signals", "step": step, "blocks": values})
    return record


def test_the_page_tells_the_whole_finding(tmp_path: Path) -> None:
    path = tmp_path / "diagnosis.html"
    write_diagnosis(path, trace(), [finding()], "my-run")
    page = path.read_text(encoding="utf-8")
    outline(page)
    for expected in (
        "my-run", "Made up condition", "since step 40", "confidence 99 %", "The loss oscillates.", "0.4123",
        "recall: cat", "Lower the learning rate.", '<span class="removed">-   learning_rate: 0.0006</span>',
        '<span class="added">+   learning_rate: 2.0e-05</span>', "--learning-rate 2e-05", "A paper, 1998", "my cat",
        "1 row to look at", "not finished", "1 × act",
    ):  # fmt: skip
        assert expected in page, expected
    assert page.startswith("<!doctype html>")


def test_the_step_since_which_it_holds_is_marked() -> None:
    (chart,) = finding_charts(finding())
    assert 'class="mark"' in chart
    for unmarked in (finding(since=0), finding(x_label="epoch")):
        (chart,) = finding_charts(unmarked)
        assert 'class="mark"' not in chart
    (chart,) = finding_charts(finding(x_label="epoch"))
    assert ">epoch<" in chart


def test_curves_of_other_scales_get_plots_of_their_own() -> None:
    curves = (
        Curve("training loss", [1, 2], [2.0, 1.0]),
        Curve("learning rate", [1, 2], [1e-4, 1e-5]),
        Curve("validation loss", [1, 2], [2.1, 1.5]),
        Curve("nothing", [1, 2], [float("nan"), float("nan")]),
    )
    losses, rate = finding_charts(finding(series=curves))
    assert "training loss" in losses and "validation loss" in losses and "learning rate" not in losses
    assert "learning rate" in rate
    many = tuple(Curve(f"class {index}", [1, 2], [0.5, 0.6]) for index in range(14))
    assert len(finding_charts(finding(series=many))) == 3
    assert finding_charts(finding(series=())) == []


def test_the_overview_draws_what_was_recorded() -> None:
    charts = "\n".join(overview_charts(with_blocks(trace(metrics={"macro_f1": [0.5] * 8}), 4)))
    for title in (
        "Loss", "training sample", "Gap of the loss: validation less training sample", "macro_f1", "Learning rate",
        "Gradient norm", "Update ratio by depth", "Gradient norm by depth",
    ):  # fmt: skip
        assert title in charts, title
    deep = "\n".join(overview_charts(with_blocks(trace(), 12)))
    assert "Update ratio by depth (6 of 14 blocks)" in deep
    assert "embeddings" in deep and "head" in deep


def test_the_gap_is_the_difference_of_like_with_like() -> None:
    record = make_trace([1.0] * 20, [0.9, 1.0], held_in=[0.9, 0.5])
    gap = next(chart for chart in overview_charts(record) if "less training sample" in chart)
    points = re.search(r'points="([\d.,]+) ([\d.,]+)"', gap)
    assert points is not None
    first, last = (float(point.split(",")[1]) for point in points.groups())
    assert last < first, "a growing gap rises"


@pytest.mark.parametrize(
    "record",
    [Trace(), make_trace([0.5]), make_trace([float("nan")] * 3), make_trace([None, None])],
    ids=["empty", "one step", "NaN", "skipped"],
)
def test_scant_records_give_a_page(record: Trace) -> None:
    page = render_diagnosis(record, [], "x")
    outline(page)
    assert "found nothing" in page


def test_a_record_without_values_says_so() -> None:
    assert "no finite value to draw" in render_diagnosis(Trace(), [], "x")


def test_what_was_not_examined_is_named() -> None:
    page = render_diagnosis(trace(), [], "x", {"overfitting": "no held-in losses"})
    assert "Not examined: 1" in page
    assert "no held-in losses" in page


def test_commands_in_a_remedy_are_code_and_nothing_else_is_markup() -> None:
    remedy = "Run `trimtab lr-find <b>`, <i>now</i>."
    page = render_diagnosis(trace(), [finding(remedy=remedy)], "x")
    assert "Run <code>trimtab lr-find &lt;b&gt;</code>, &lt;i&gt;now&lt;/i&gt;." in page
    assert "confidence over 99 %" in render_diagnosis(trace(), [finding(confidence=1.0)], "x")


def test_an_unknown_recipe_shows_no_change() -> None:
    view = diagnosis_view({"findings": [finding().to_dict()]}, {})["findings"][0]
    assert (view["diff"], view["command"]) == ([], "")
    assert view["remedy"] == "Lower the learning rate."


def test_rows_beyond_the_first_fifty_are_counted() -> None:
    rows = tuple({"row": index, "text": "t"} for index in range(60))
    page = render_diagnosis(trace(), [finding(rows=rows)], "x")
    assert "60 rows to look at" in page
    assert "and 10 more" in page


def test_summaries() -> None:
    assert summary([], 1) == "The doctor looked for 1 condition and found nothing."
    found = [finding(), finding(severity="info"), finding(severity="info")]
    assert summary(found, 25) == "The doctor looked for 25 conditions and found 3 things: 1 × act, 2 × good to know."


def evil_finding() -> Finding:
    return finding(
        name=EVIL, message=EVIL, remedy=EVIL, source=EVIL, x_label=EVIL,
        evidence={EVIL: EVIL, "outer": {EVIL: [EVIL]}},
        change={"data.label": EVIL, EVIL: EVIL},
        series=(Curve(EVIL, [1, 2], [1.0, 2.0]), Curve("other", [1, 2], [1.0, 2.0])),
        rows=({"split": EVIL, "text": EVIL, "label": EVIL, EVIL: EVIL},),
    )  # fmt: skip


def test_nothing_of_the_data_becomes_markup() -> None:
    record = trace()
    record.facts = make_facts(model=EVIL, strategy=EVIL, rows={EVIL: 3}, metric=EVIL, recipe={"data.label": EVIL})
    record.add({"type": "signals", "step": 3, "blocks": {EVIL: {"update_ratio": 1e-3}}})
    record.add({"type": "evaluation", "step": 90, "metrics": {EVIL: 0.5}})
    found = outline(render_diagnosis(record, [evil_finding()], EVIL, {EVIL: EVIL}))
    assert not {"script", "img"} & set(found.tags)
    assert found.sources == []


def test_the_page_needs_nothing_from_outside() -> None:
    page = render_diagnosis(with_blocks(trace(), 4), [finding()], "x")
    assert outline(page).sources == []
    assert not re.search(r"https?://|url\(|@import", page)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page


def test_the_report_of_a_run_holds_the_diagnosis() -> None:
    diagnosis = {"findings": [finding().to_dict()], "examined": ["a", "b"]}
    report = context(diagnosis=diagnosis, recipe=RECIPE)
    page = render_html(report)
    assert outline(page).tags.count("svg") == 4
    for text in (page, render_markdown(report)):
        assert "The doctor looked for 2 conditions and found 1 thing: 1 × act." in text
        assert "The loss oscillates." in text
        assert "my cat" in text
    lines = render_markdown(report).splitlines()
    assert "## Diagnosis" in lines
    assert "### Made up condition (act, since step 40)" in lines
    assert "| train | 17 | dog | my cat |" in lines
    assert "my cat" not in render_card(report).split("\n---\n", 1)[1].replace("3 × 'my cat'", "")


def test_a_report_without_a_diagnosis_says_nothing_of_one() -> None:
    assert "Diagnosis" not in render_html(context())
    assert "Diagnosis" not in render_markdown(context())


def test_reports_escape_the_diagnosis() -> None:
    report = context(diagnosis={"findings": [evil_finding().to_dict()], "examined": [EVIL]}, recipe={"seed": 0})
    found = outline(render_html(report))
    assert not {"script", "img"} & set(found.tags)
    text = render_markdown(report)
    assert "<script" not in text
    assert "<img" not in text
