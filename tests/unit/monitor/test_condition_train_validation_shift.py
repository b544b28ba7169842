"""Train and validation that differ: by the data report, and by the losses of the first epoch."""

from __future__ import annotations

from typing import Any

import pytest
from monitor_traces import falling, make_trace

from trimtab.core.said import Said, origins, say
from trimtab.monitor.conditions.train_validation_shift import TrainValidationShift
from trimtab.monitor.findings import Finding

TRAIN = falling(0.7, 0.2, 40)


def found(*told: dict[str, Any], val: list[float], held_in: list[float] | None, **fields: Any) -> list[Finding]:
    trace = make_trace(TRAIN, val, held_in=held_in, **fields)
    for finding in told:
        trace.add({"type": "finding", "step": 0, "by": "data", **finding})
    findings = list(TrainValidationShift().examine(trace))
    assert all(isinstance(told, Said) for one in findings for told in (one.message, one.remedy))
    return findings


def inputs(split: str, area: float) -> dict[str, Any]:
    return {
        "name": "covariate_shift",
        "message": "They differ.",
        "evidence": {"split": split, "area": area, "error": 0.02},
    }


def labels(split: str, distance: float) -> dict[str, Any]:
    return {"name": "label_shift", "evidence": {"split": split, "total_variation": distance}}


HEALTHY = {"val": [0.55, 0.45, 0.4, 0.4], "held_in": [0.52, 0.35, 0.2, 0.1]}
APART = {"val": [0.95, 1.0, 1.1, 1.2], "held_in": [0.52, 0.35, 0.2, 0.1]}


@pytest.mark.parametrize(
    ("split", "distance", "severity"),
    [
        ("validation", 0.15, "warning"),
        ("validation", 0.29, "warning"),
        ("validation", 0.3, "act"),
        ("validation", 0.4, "act"),
        ("test", 0.15, "info"),
        ("test", 0.4, "info"),
    ],
)
def test_labels(split: str, distance: float, severity: str) -> None:
    (finding,) = found(labels(split, distance), **HEALTHY)
    assert (finding.severity, finding.since) == (severity, 0)
    assert split in finding.message and split in finding.remedy


def test_inputs_act_only_where_the_loss_agrees() -> None:
    assert [f.severity for f in found(inputs("validation", 0.7), **HEALTHY)] == ["info"]
    assert [f.severity for f in found(inputs("validation", 0.9), **HEALTHY)] == ["warning"]
    assert [f.severity for f in found(inputs("test", 0.9), **HEALTHY)] == ["info"]
    (finding,) = found(inputs("validation", 0.7), **APART)
    assert finding.severity == "act" and finding.series and "validation loss" in finding.message


def test_the_sentence_of_the_data_report_keeps_its_origin_beside_that_of_the_loss() -> None:
    message = say("They differ by {area}.", area=0.9)
    plain = {"message": str(message), "said": origins(message=message)}
    for said in ({"message": message}, plain):
        (finding,) = found({**inputs("validation", 0.9), **said}, **APART)
        assert finding.message.startswith("They differ by 0.9. At step 10, in the first epoch, ")
        values = finding.to_dict()["said"]["message"]["values"]
        assert values["part1"] == message.to_dict() and "gap" in values["part2"]["values"]


def test_a_gap_in_the_first_epoch_alone_is_a_warning() -> None:
    (finding,) = found(**APART)
    assert (finding.severity, finding.since) == ("warning", 10)
    assert finding.evidence["gap"] == pytest.approx(0.43) and finding.confidence >= 0.99


def test_a_gap_that_opens_later_or_within_noise_is_none() -> None:
    assert found(val=[0.5, 0.9, 1.2, 1.5], held_in=HEALTHY["held_in"]) == []
    assert found(**APART, loss_error=0.3) == []
    assert found(val=APART["val"], held_in=None) == [], "losses of single steps are not compared with"
