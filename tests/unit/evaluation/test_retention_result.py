"""Before against after: the arithmetic, the intervals, the sentence, and the report."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import test_report

from trimtab.evaluation.report import render_html, render_markdown
from trimtab.evaluation.retention.result import RetentionResult, compare
from trimtab.evaluation.retention.state import ClassLosses, RetentionState, TextLosses
from trimtab.metrics.similarity import cosines, linear_cka, spearman

RNG = np.random.default_rng(0)
ROWS = 40
VECTORS = {name: RNG.normal(size=(ROWS, 6)) for name in ("block 0", "block 1")}
SCORES = RNG.normal(size=30)
TOKENS = RNG.integers(1, 9, size=ROWS)
IMAGES = RNG.random(25)


def state(noise: float = 0.0, loss: float = 2.0, kind: Any = "masked") -> RetentionState:
    """A model whose last block is moved by `noise` and whose loss a token is `loss`."""
    draw = np.random.default_rng(1)
    last = VECTORS["block 1"] + noise * draw.normal(size=(ROWS, 6))
    return RetentionState(
        blocks={"block 0": VECTORS["block 0"], "block 1": last},
        similarities=cosines(last),
        language=TextLosses(kind, loss * TOKENS + noise * draw.normal(size=ROWS), TOKENS),
        pairs=SCORES + noise * draw.normal(size=30),
        source=ClassLosses(IMAGES + noise, 0.5 + noise > IMAGES),
    )


def compared(before: RetentionState, after: RetentionState, **fields: Any) -> RetentionResult:
    return compare(before, after, scores=SCORES, samples=300, **fields)


def test_nothing_changed() -> None:
    result = compared(state(), state())
    assert result.rank_agreement is not None
    assert (result.rank_agreement.value, result.rank_agreement.low) == pytest.approx((1, 1))
    assert result.cka == pytest.approx({"block 0": 1.0, "block 1": 1.0})
    for change in (result.pretraining_loss, result.pair_spearman, result.source_loss):
        assert change is not None
        assert change.before == change.after
        assert (change.difference.value, change.difference.low, change.difference.high) == (0, 0, 0)
    assert result.pretraining_loss is not None
    assert result.pretraining_loss.before.value == pytest.approx(2)
    assert result.perplexity == pytest.approx((math.exp(2), math.exp(2)))
    assert (result.rows, result.tokens, result.pairs, result.images) == (ROWS, TOKENS.sum(), 30, 25)


def test_numbers_are_those_of_their_definitions() -> None:
    before, after = state(), state(0.8, 3.0)
    result = compared(before, after)
    assert result.rank_agreement is not None
    assert result.rank_agreement.value == pytest.approx(spearman(before.similarities, after.similarities))
    assert result.rank_agreement.low < result.rank_agreement.value < result.rank_agreement.high < 1
    moved = after.blocks["block 1"]
    assert result.cka["block 0"] == pytest.approx(1)
    assert result.cka["block 1"] == pytest.approx(linear_cka(VECTORS["block 1"], moved, debiased=True))
    assert result.lowest_cka == ("block 1", result.cka["block 1"])
    assert after.language is not None
    assert result.pretraining_loss is not None
    assert result.pretraining_loss.after.value == pytest.approx(after.language.sums.sum() / TOKENS.sum())
    gain = result.pretraining_loss.difference
    assert gain.value == pytest.approx(result.pretraining_loss.after.value - 2)
    assert gain.low < gain.value < gain.high
    assert result.pair_spearman is not None
    assert after.pairs is not None
    assert result.pair_spearman.after.value == pytest.approx(spearman(SCORES, after.pairs))
    assert result.source_loss is not None
    assert result.source_loss.difference.value == pytest.approx(0.8)
    assert result.source_accuracy == pytest.approx((np.mean(IMAGES < 0.5), 1.0))


def test_difference_is_paired() -> None:
    # The same shift of every image: no resample changes it, although the loss itself varies.
    result = compared(state(), state(0.8))
    assert result.source_loss is not None
    assert result.source_loss.difference.high - result.source_loss.difference.low < 1e-9
    assert result.source_loss.before.high - result.source_loss.before.low > 0.1


def test_intervals_come_from_the_seed_and_level() -> None:
    before, after = state(), state(0.8)
    one = compared(before, after)
    assert one == compared(before, after)
    other = compared(before, after, seed=1)
    assert one.rank_agreement != other.rank_agreement
    narrow = compared(before, after, confidence=0.5)
    assert narrow.rank_agreement is not None and one.rank_agreement is not None
    assert narrow.rank_agreement.low > one.rank_agreement.low
    assert narrow.confidence == 0.5


def test_summary() -> None:
    result = compared(state(), state(0.8, 2.5, "masked"))
    assert result.rank_agreement is not None and result.pair_spearman is not None and result.source_loss is not None
    assert result.summary.startswith(f"Retention: rank agreement {result.rank_agreement.value:.2f}, ")
    assert "masked-LM loss 2.00 → " in result.summary
    assert f"(−{abs(result.pair_spearman.difference.value):.2f})" in result.summary
    assert f"{result.source_loss.after.value:.2f} (+0.80)" in result.summary
    assert result.summary.endswith(f"CKA lowest in block 1 ({result.cka['block 1']:.2f}).")
    alone = replace(state(), language=None, pairs=None, source=None)
    assert compared(alone, alone).summary == "Retention: rank agreement 1.00, CKA lowest in block 0 (1.00)."
    assert "causal-LM" in compared(state(kind="causal"), state(kind="causal")).summary


def test_what_is_missing_stays_out() -> None:
    bare = RetentionState(blocks={}, similarities=np.zeros(0))
    result = compare(bare, bare, samples=10, notes=("why",))
    assert result.rank_agreement is None
    assert result.lowest_cka is None
    assert result.notes == ("why",)
    assert result.summary == "Retention: nothing could be measured."
    empty = TextLosses("masked", np.zeros(3), np.zeros(3, dtype=np.int64))
    silent = compare(replace(bare, language=empty), replace(bare, language=empty), samples=10)
    assert silent.pretraining_loss is None


def test_plain_types() -> None:
    plain = compared(state(), state(0.8)).to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert set(plain["rank_agreement"]) == {"value", "low", "high"}
    assert set(plain["pretraining_loss"]) == {"before", "after", "difference"}
    undefined = replace(state(), blocks={"block 0": np.ones((ROWS, 2))})
    result = compared(undefined, undefined)
    assert math.isnan(result.cka["block 0"])
    assert result.lowest_cka is None
    assert result.to_dict()["cka"] == {"block 0": None}


def test_report_tells_what_was_kept() -> None:
    result = compared(state(), state(0.8, 3.0), notes=("a <note> on it",))
    plain = json.loads(json.dumps(result.to_dict()))
    report = test_report.context(retention=plain)
    page, text = render_html(report), render_markdown(report)
    test_report.outline(page)
    assert result.pretraining_loss is not None
    for document in (page, text):
        assert "What was kept" in document
        assert f"{result.pretraining_loss.after.value:.3f}" in document
        assert f"{result.pretraining_loss.difference.low:.3f} to" in document
        assert "loss on source classes" in document
        assert f"{result.cka['block 1']:.3f}" in document
        assert "<note>" not in document
    assert "a &lt;note&gt; on it" in page
    table = text[text.index("| measure |") :].split("\n\n")[0].splitlines()
    assert len(table) == 6
    assert len({line.count("|") for line in table}) == 1


def test_report_without_retention_says_nothing_of_it() -> None:
    for document in (render_html(test_report.context()), render_markdown(test_report.context())):
        assert "What was kept" not in document


def test_report_of_a_measurement_that_failed() -> None:
    failed = RetentionResult(0.95, notes=("Retention could not be measured: it is gone.",), summary="Retention: none.")
    page = render_html(test_report.context(retention=failed.to_dict()))
    test_report.outline(page)
    assert "it is gone." in page
    assert "Drift by block" not in page
