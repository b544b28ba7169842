"""The conditions of the data on records that say little or nonsense: none of them raises, none invents a finding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from monitor_traces import falling, make_facts, make_trace

from trimtab.core.registry import CONDITIONS
from trimtab.monitor.facts import Facts
from trimtab.monitor.rows import RowRecord
from trimtab.monitor.trace import Trace

NAMES = [
    "leakage",
    "train_validation_shift",
    "suspect_labels",
    "shuffled_labels",
    "truncated_texts",
    "unshuffled_order",
]
LOSSES = falling(0.7, 0.3, 60)


def odd_records() -> dict[str, Trace]:
    foreign = Facts(origin="csv")
    resumed = make_trace(LOSSES[:40], [0.6, 0.5, 0.45, 0.4])
    for event in range(25, 61):
        resumed.add({"type": "step", "step": event, "loss": LOSSES[event - 1], "learning_rates": {"all": 1e-4}})
    unknown = make_trace(LOSSES, [0.5] * 6, held_in=[0.4] * 6)
    for name in ("leakage", "giveaway", "label_shift", "covariate_shift", "long_texts"):
        unknown.add({"type": "finding", "step": 0, "by": "data", "name": name})
        unknown.add(
            {"type": "finding", "step": 0, "by": "data", "name": name, "evidence": {"share": None, "rows": "x"}}
        )
    empty_rows = make_trace(LOSSES)
    empty_rows.rows = RowRecord.empty(3, np.zeros(0, np.int64))
    unseen = make_trace(LOSSES)
    unseen.rows = RowRecord.empty(3, np.zeros(200, np.int64))
    return {
        "nothing": Trace(),
        "one step": make_trace([0.7]),
        "one evaluation": make_trace(LOSSES[:10], [0.5], held_in=[0.45]),
        "not a number": make_trace([math.nan] * 60, [math.nan] * 6, held_in=[math.nan] * 6),
        "constant": make_trace([0.7] * 60, [0.7] * 6, held_in=[0.7] * 6, metrics={"accuracy": [0.5] * 6}),
        "resumed": resumed,
        "foreign": Trace.from_events(
            [{"type": "step", "step": i + 1, "loss": x} for i, x in enumerate(LOSSES)], foreign
        ),
        "healthy": make_trace(LOSSES, falling(0.6, 0.35, 6), held_in=falling(0.58, 0.3, 6)),
        "data findings without numbers": unknown,
        "no rows": empty_rows,
        "rows never seen": unseen,
        "no facts": make_trace(LOSSES, [0.5] * 6, facts=make_facts(steps_per_epoch=None, labels=(), label_counts={})),
    }


@pytest.mark.parametrize("record", list(odd_records()))
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found(name: str, record: str) -> None:
    assert list(CONDITIONS.get(name)().examine(odd_records()[record])) == []
