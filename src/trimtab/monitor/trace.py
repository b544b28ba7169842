"""A run's record as columns: what the conditions read. It grows event by event, from a live run or from its file."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.core.way import Way
from trimtab.monitor.facts import Facts
from trimtab.monitor.rows import RowRecord

Floats = NDArray[np.float64]
Item = TypeVar("Item")

# Columns of a step, beside `learning_rate`, the largest of all groups' rates.
STEP_COLUMNS = ("epoch", "loss", "grad_norm", "weight", "tokens", "padded_tokens", "seconds", "data_seconds", "stage")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation during training.

    Args:
        step: after which it took place.
        epoch: passes over the data done.
        values: `loss` and every metric on the validation rows; NaN where one was not finite.
        held_in: the same on the fixed sample of training rows, in evaluation mode; empty where it was not measured.
        detail: `rows`, `loss_error` (standard error of the mean loss), `recall`, `label_rows` and `predicted` (a number
            a class), `predicted_entropy` (of the shares of predicted labels over that of the true ones' shares),
            `confidence`, `error_confidence` (mean probability of the predicted class, over all rows and over those
            predicted wrong); each may be absent.
        best: whether it was the best so far.
    """

    step: int
    epoch: float
    values: Mapping[str, float]
    held_in: Mapping[str, float] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    best: bool = False


@dataclass(frozen=True)
class _Later:
    """What was recorded of the steps above one."""

    steps: list[int]
    columns: dict[str, list[float]]
    extras: list[Mapping[str, Any]]
    skipped: dict[int, tuple[str, tuple[int, ...]]]
    evaluations: list[Evaluation]
    signals: list[dict[str, Any]]
    inspections: list[dict[str, Any]]
    retention: dict[str, Any]


class Trace:
    """All that was recorded of a run, so far.

    Args:
        facts: what is known before the first step.
        rows: what the model made of each training row; None where that was not recorded.
        table: gives the rows of a split as a frame with the columns `text` or `image`, `label`, `row`, `source`; None
            where the data are not at hand.

    Attributes:
        evaluations: in order of their steps.
        signals: sampled steps: `step`, `blocks` (name -> `update_ratio`, `grad_norm`, `weight_norm`), `noise`
            (`variance`, `squared_norm`, `rows`), `memory_mib`, `memory_total_mib`, as the `signals` event has them.
        inspections: looks inside the model on a few rows: `step`, `dead_units`, `attention_entropy`, `drift`, each
            block -> value, as the `inspection` event has them.
        data_findings: findings of the data report, as dictionaries.
        actions: `action` events.
        skipped: step -> why its gradient was not used, with its rows: (reason, rows).
        retention: what the model kept of the pretrained one, as last measured, with the `step`; empty before that.
        end: the `end` event; empty before the run has finished.
        final: content of `evaluation.json`; empty before the run has finished.
    """

    def __init__(
        self,
        facts: Facts | None = None,
        rows: RowRecord | None = None,
        table: Callable[[str], pd.DataFrame | None] | None = None,
    ) -> None:
        self.facts = facts or Facts()
        self.rows = rows
        self.table = table or (lambda split: None)
        self.evaluations: list[Evaluation] = []
        self.signals: list[dict[str, Any]] = []
        self.inspections: list[dict[str, Any]] = []
        self.data_findings: list[dict[str, Any]] = []
        self.actions: list[dict[str, Any]] = []
        self.skipped: dict[int, tuple[str, tuple[int, ...]]] = {}
        self.retention: dict[str, Any] = {}
        self.end: dict[str, Any] = {}
        self.final: dict[str, Any] = {}
        self._steps: list[int] = []
        self._columns: dict[str, list[float]] = {name: [] for name in (*STEP_COLUMNS, "learning_rate")}
        self._extras: list[Mapping[str, Any]] = []
        self._way = Way(self._take_out, self._put_back)

    @classmethod
    def from_events(cls, events: Iterable[Mapping[str, Any]], facts: Facts | None = None, **fields: Any) -> Trace:
        """The trace of events in the order in which they were written."""
        trace = cls(facts, **fields)
        for event in events:
            trace.add(event)
        return trace

    def add(self, event: Mapping[str, Any]) -> None:
        """Take note of one event; of types that nothing is made of, and of events that make no sense, none is."""
        kind, step = event.get("type"), event.get("step")
        if not isinstance(step, int) or isinstance(step, bool):
            return
        if kind == "step":
            self._add_step(step, event)
        elif kind == "evaluation":
            self._add_evaluation(step, event)
        elif kind in ("signals", "inspection"):
            records = self.signals if kind == "signals" else self.inspections
            _cut(records, step)
            records.append(dict(event))
        elif kind == "finding" and event.get("by", "data") == "data":
            self.data_findings.append(dict(event))
        elif kind == "action":
            self.actions.append(dict(event))
            self._way.follow(event)
        elif kind == "control":
            self._way.follow(event)
        elif kind == "retention":
            self.retention = dict(event)
        elif kind == "end":
            self.end = dict(event)

    @property
    def steps(self) -> Floats:
        """Numbers of the recorded steps, ascending, `[n]`."""
        return np.asarray(self._steps, np.float64)

    def column(self, name: str) -> Floats:
        """One of `STEP_COLUMNS`, or `learning_rate`, `[n]`; NaN where it is not known.

        Raises:
            KeyError: there is no such column.
        """
        return np.asarray(self._columns[name], np.float64)

    def extra(self, name: str) -> Floats:
        """A value that a hook told of each step, such as a penalty, `[n]`; NaN where it told none."""
        return np.asarray([number(extras.get(name)) for extras in self._extras], np.float64)

    def evaluated(self, name: str, *, held_in: bool = False) -> tuple[Floats, Floats]:
        """Steps and values of a metric (or `loss`) over the evaluations, `[m]` each; NaN where it is not known."""
        steps = np.asarray([evaluation.step for evaluation in self.evaluations], np.float64)
        found = [
            (evaluation.held_in if held_in else evaluation.values).get(name, math.nan)
            for evaluation in self.evaluations
        ]
        return steps, np.asarray(found, np.float64)

    def block_signal(self, name: str) -> tuple[Floats, dict[str, Floats]]:
        """A signal of each block: steps `[s]`, and block -> values `[s]` in depth order; NaN where not measured.

        Args:
            name: `update_ratio`, `grad_norm` or `weight_norm`.
        """
        with_blocks = [signal for signal in self.signals if signal.get("blocks")]
        steps = np.asarray([signal["step"] for signal in with_blocks], np.float64)
        blocks = list(dict.fromkeys(block for signal in with_blocks for block in signal["blocks"]))
        return steps, {
            block: np.asarray([number((signal["blocks"].get(block) or {}).get(name)) for signal in with_blocks])
            for block in blocks
        }

    @property
    def last_step(self) -> int:
        """The newest recorded step; 0 before the first."""
        return self._steps[-1] if self._steps else 0

    @property
    def progress(self) -> float:
        """Share of the planned steps that were taken; 1 where the plan is not known."""
        total = self.facts.total_steps
        return min(1.0, self.last_step / total) if total else 1.0

    def data_finding(self, name: str) -> list[dict[str, Any]]:
        """The findings of the data report of a certain name."""
        return [finding for finding in self.data_findings if finding.get("name") == name]

    def _add_step(self, step: int, event: Mapping[str, Any]) -> None:
        # After a resume, steps since the checkpoint appear again: the later ones hold.
        self._forget_from(step)
        self._steps.append(step)
        for name in STEP_COLUMNS:
            self._columns[name].append(number(event.get(name)))
        rates = [number(rate) for rate in (event.get("learning_rates") or {}).values()]
        self._columns["learning_rate"].append(max((rate for rate in rates if math.isfinite(rate)), default=math.nan))
        self._extras.append(event.get("extras") or {})
        if event.get("skipped"):
            self.skipped[step] = (str(event["skipped"]), tuple(event.get("rows") or ()))

    def _forget_from(self, step: int) -> None:
        while self._steps and self._steps[-1] >= step:
            self.skipped.pop(self._steps.pop(), None)
            self._extras.pop()
            for column in self._columns.values():
                column.pop()
        while self.evaluations and self.evaluations[-1].step >= step:
            self.evaluations.pop()
        # The signals of a step are written before the step itself.
        _cut(self.signals, step + 1)
        _cut(self.inspections, step)

    def _take_out(self, above: int) -> _Later:
        """Forget what was recorded of steps above one, and return it."""
        place = bisect_right(self._steps, above)
        retention = self.retention if number(self.retention.get("step")) > above else {}
        if retention:
            self.retention = {}
        return _Later(
            steps=_cut_out(self._steps, place),
            columns={name: _cut_out(column, place) for name, column in self._columns.items()},
            extras=_cut_out(self._extras, place),
            skipped={step: self.skipped.pop(step) for step in sorted(self.skipped) if step > above},
            evaluations=_cut_out(self.evaluations, sum(evaluation.step <= above for evaluation in self.evaluations)),
            signals=_cut_out(self.signals, sum(signal["step"] <= above for signal in self.signals)),
            inspections=_cut_out(self.inspections, sum(look["step"] <= above for look in self.inspections)),
            retention=retention,
        )

    def _put_back(self, later: _Later) -> None:
        self._steps += later.steps
        for name, values in later.columns.items():
            self._columns[name] += values
        self._extras += later.extras
        self.skipped |= later.skipped
        self.evaluations += later.evaluations
        self.signals += later.signals
        self.inspections += later.inspections
        self.retention = later.retention or self.retention

    def _add_evaluation(self, step: int, event: Mapping[str, Any]) -> None:
        if event.get("split", "validation") != "validation":
            return
        while self.evaluations and self.evaluations[-1].step >= step:
            self.evaluations.pop()
        self.evaluations.append(
            Evaluation(
                step=step,
                epoch=number(event.get("epoch")),
                values=_numbers(event.get("metrics")),
                held_in=_numbers(event.get("held_in")),
                detail=dict(event.get("detail") or {}),
                best=bool(event.get("best")),
            )
        )


def _cut_out(items: list[Item], place: int) -> list[Item]:
    """Remove the items from `place` on, and return them."""
    later = items[place:]
    del items[place:]
    return later


def _cut(records: list[dict[str, Any]], step: int) -> None:
    """Drop the records of `step` and later ones."""
    while records and records[-1]["step"] >= step:
        records.pop()


def number(value: Any) -> float:
    """`value` as a float; NaN where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)


def _numbers(values: Any) -> dict[str, float]:
    return {str(name): number(value) for name, value in values.items()} if isinstance(values, Mapping) else {}
