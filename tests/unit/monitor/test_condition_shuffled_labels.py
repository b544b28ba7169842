"""Labels without relation to the rows: learnt by heart, of no use on other rows."""

from __future__ import annotations

from typing import Any

from monitor_traces import falling, make_trace

from trimtab.core.said import Said
from trimtab.monitor.conditions.shuffled_labels import ShuffledLabels
from trimtab.monitor.findings import Finding


def found(
    accuracy: list[float], held_in: list[float], rows: int = 400, classes: int = 2, loss: float = 0.7
) -> list[Finding]:
    detail = [{"recall": [value] * classes, "label_rows": [rows // classes] * classes} for value in accuracy]
    count = len(accuracy)
    trace = make_trace(
        falling(0.7, 0.3, 10 * count),
        [loss] * count,
        held_in=[0.6] * count,
        metrics={"accuracy": accuracy},
        held_in_metrics={"accuracy": held_in},
        detail=detail,
        rows=rows,
    )
    findings = list(ShuffledLabels().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings


def test_learnt_by_heart_with_validation_at_chance() -> None:
    (finding,) = found([0.5, 0.52, 0.49], [0.55, 0.8, 0.95])
    assert (finding.severity, finding.since) == ("act", 20)
    assert finding.evidence["chance"] == 0.5 and finding.confidence > 0.975 and "--label" in finding.remedy
    assert [curve.name for curve in finding.series] == ["accuracy on validation rows", "accuracy on training rows"]
    assert found([0.16, 0.18, 0.17], [0.3, 0.6, 0.9], classes=6)


def test_healthy_weak_and_untrained_runs_are_none() -> None:
    assert found([0.8, 0.85, 0.86], [0.85, 0.95, 1.0]) == []
    assert found([0.58, 0.62, 0.6], [0.7, 0.9, 1.0]) == [], "weak, beyond chance"
    assert found([0.56, 0.55, 0.56], [0.7, 0.9, 1.0], loss=0.6) == [], "the loss says that something was learnt"
    assert found([0.5, 0.5, 0.51], [0.5, 0.52, 0.5]) == [], "nothing was learnt at all"
    assert found([0.5, 0.52, 0.55], [0.7, 0.9, 1.0], rows=40) == [], "40 rows cannot rule out 0.6"


def test_a_single_class_that_is_named_always() -> None:
    detail: list[dict[str, Any]] = [{"recall": [1.0, 0.0], "label_rows": [180, 20]}] * 3
    trace = make_trace(
        falling(0.7, 0.3, 30),
        [0.4] * 3,
        held_in=[0.4] * 3,
        metrics={"accuracy": [0.9] * 3},
        held_in_metrics={"accuracy": [0.9] * 3},
        detail=detail,
    )
    assert list(ShuffledLabels().examine(trace)) == []
