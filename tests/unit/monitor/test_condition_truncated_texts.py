"""Texts cut by the maximum length."""

from __future__ import annotations

from typing import Any

import pytest
from monitor_traces import make_facts, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.truncated_texts import TruncatedTexts


def found(share: float, option: Any, limit: int = 16) -> list[Any]:
    recipe = {} if option is None else {"task.max_length": option}
    trace = make_trace([0.5], facts=make_facts(max_length=limit, recipe=recipe))
    evidence = {"share": share, "max_length": limit, "median": 20.0, "maximum": 90}
    trace.add({"type": "finding", "step": 0, "by": "data", "name": "long_texts", "evidence": evidence})
    findings = list(TruncatedTexts().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings


@pytest.mark.parametrize(
    ("share", "option", "severity"),
    [(0.05, 16, "info"), (0.3, 16, "warning"), (0.6, 16, "act"), (0.6, "auto", "warning"), (0.6, None, "warning"),
     (0.6, 32, "warning")],
)  # fmt: skip
def test_it_acts_where_the_option_cuts(share: float, option: Any, severity: str) -> None:
    (finding,) = found(share, option)
    assert finding.severity == severity and finding.since == 0
    assert finding.change == ({"task.max_length": "auto"} if option == 16 else {})
    assert "16 tokens" in finding.message and finding.evidence["longest"] == 90


def test_no_rows_cut() -> None:
    assert found(0.0, 16) == []
