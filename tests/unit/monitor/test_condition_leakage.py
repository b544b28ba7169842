"""Leakage: rows in two splits, features that give the label away, and a validation too good to be true."""

from __future__ import annotations

from typing import Any

import pytest
from monitor_traces import make_trace

from trimtab.core.said import Said, origins, say
from trimtab.monitor.conditions.leakage import Leakage
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace


def shared(rows: int, equal: int, near: int, split: str = "validation") -> dict[str, Any]:
    example = {"split": split, "row": 7, "source": "v.csv", "label": "a", "content": "the text", "kind": "equal"}
    example |= {"other_split": "train", "other_row": 3, "other_label": "b", "other_content": "the text"}
    evidence = {"split": split, "rows": rows, "identical": equal, "equal": equal, "near": near, "examples": [example]}
    return {"name": "leakage", "evidence": evidence, "remedy": "Remove these rows from the train data."}


def giveaway(gain: float, rows: int = 400) -> dict[str, Any]:
    evidence = {"kind": "word", "rules": [], "rows": rows, "right": 0.95, "majority": 0.5, "gain": gain}
    listed = {"split": "train", "row": 4, "label": "a", "content": "zq text"}
    return {"name": "giveaway", "message": "The word “zq” gives it away.", "evidence": {**evidence, "listed": [listed]}}


def found(*told: dict[str, Any], **fields: Any) -> list[Finding]:
    trace = make_trace([0.5] * 20, [0.4, 0.3], **fields)
    for finding in told:
        trace.add({"type": "finding", "step": 0, "by": "data", **finding})
    return examined(trace)


def examined(trace: Trace) -> list[Finding]:
    findings = list(Leakage().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings


@pytest.mark.parametrize(
    ("equal", "near", "severity"),
    [(1, 0, "info"), (2, 3, "warning"), (11, 0, "act"), (0, 30, "warning"), (0, 44, "act")],
)
def test_severity_by_the_share_of_shared_rows(equal: int, near: int, severity: str) -> None:
    finding = found(shared(200, equal, near))[0]
    assert (finding.severity, finding.since) == (severity, 0)
    assert finding.evidence["share"] == (equal + near) / 200
    assert finding.remedy == "Remove these rows from the train data."
    assert finding.rows[0]["row"] == 7 and finding.rows[0]["equals_row"] == 3


def test_each_split_is_told() -> None:
    told = found(shared(200, 20, 0), shared(100, 1, 0, "test"))
    assert [(finding.evidence["split"], finding.severity) for finding in told] == [
        ("validation", "act"),
        ("test", "info"),
    ]
    assert found(shared(200, 0, 0)) == [] and found(shared(0, 0, 0)) == []


@pytest.mark.parametrize(("gain", "severity"), [(0.07, "info"), (0.6, "warning"), (0.9, "act")])
def test_giveaway_by_what_it_decides(gain: float, severity: str) -> None:
    finding = found(giveaway(gain))[0]
    assert finding.severity == severity and "zq" in finding.message and finding.rows[0]["text"] == "zq text"
    assert 0.9 < finding.confidence < 1


def test_sentences_of_the_data_report_keep_their_origin() -> None:
    message, remedy = say("The word “{word}” gives it away.", word="zq"), say("Remove these rows from the train data.")
    plain = {"message": str(message), "remedy": str(remedy), "said": origins(message=message, remedy=remedy)}
    for said in ({"message": message, "remedy": remedy}, plain):
        leak, given_away = found({**shared(200, 20, 0), **said}, {**giveaway(0.9), **said})
        assert (leak.remedy, given_away.message) == (remedy, message)
        told = (leak.to_dict()["said"]["remedy"], given_away.to_dict()["said"]["message"])
        assert [one["values"]["part1"] for one in told] == [remedy.to_dict(), message.to_dict()]


def test_perfect_at_once_is_suspicious_only_beside_a_weak_baseline() -> None:
    baseline = {"TF-IDF + logistic regression": {"accuracy": {"value": 0.7, "low": 0.66, "high": 0.74}}}

    def run(accuracy: float, rows: int, final: dict[str, Any]) -> list[Finding]:
        trace = make_trace([0.5] * 20, [0.01, 0.01], metrics={"accuracy": [accuracy, 1.0]}, rows=rows)
        trace.final = final
        return examined(trace)

    finding = run(1.0, 500, {"baselines": baseline})[0]
    assert (finding.severity, finding.since) == ("warning", 10) and finding.evidence["baseline"] == 0.7
    assert run(1.0, 60, {"baselines": baseline}) == [], "60 rows cannot show 99 %"
    assert run(0.97, 500, {"baselines": baseline}) == []
    assert run(1.0, 500, {}) == []
    good = {"TF-IDF + logistic regression": {"accuracy": {"value": 0.97, "low": 0.95, "high": 0.98}}}
    assert run(1.0, 500, {"baselines": good}) == []
