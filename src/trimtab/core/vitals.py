"""Where a run stands, in a few numbers, from its events: what its heartbeat tells."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

# The phases after the last step, by the names in `phase` events.
FINISHING = frozenset({"weights", "evaluation", "retention"})
# Those in which the time to the last step means something.
GOING = frozenset({"running", "evaluating", "paused"})
SEVERITIES = ("info", "warning", "act")


class Vitals:
    """Listens to a run's events. No event of any version makes it fail.

    Args:
        clock: seconds that never go back, for the time that is left.

    Attributes:
        state: `preparing`, `running`, `evaluating`, `paused`, `finishing`, `finished`, `stopped` or `failed`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.state = "preparing"
        self._clock = clock
        self._facts: dict[str, Any] = dict.fromkeys(
            ("step", "total_steps", "epoch", "num_epochs", "loss", "metric", "value")
        )
        # The best values so far with their steps; those that a way back gave up, until it is undone.
        self._best: list[tuple[int, float]] = []
        self._given_up: list[tuple[int, float]] = []
        self._severities: dict[tuple[str, str], str] = {}
        self._stopwatch = _Stopwatch(clock)

    def hear(self, event: Mapping[str, Any]) -> bool:
        """Take note of an event, and say whether it changed the state."""
        before = self.state
        listen = getattr(self, f"_on_{event.get('type')}", None)
        if listen is not None:
            listen(event)
        return self.state != before

    def rest(self) -> None:
        """Stand before the first step of a new session: what was told remains, the state and the times do not."""
        self.state = "preparing"
        self._stopwatch = _Stopwatch(self._clock)

    def fields(self) -> dict[str, Any]:
        """What the heartbeat tells: plain JSON types, None where something is not known."""
        best_step, best = self._best[-1] if self._best else (None, None)
        counts = {name: sum(found == name for found in self._severities.values()) for name in SEVERITIES}
        left = self._stopwatch.seconds_left(self._steps_left()) if self.state in GOING else None
        return {
            "state": self.state,
            **self._facts,
            "best": best,
            "best_step": best_step,
            "findings": counts,
            "seconds_left": None if left is None else round(left, 1),
        }

    def _steps_left(self) -> int | None:
        step, total = self._facts["step"], self._facts["total_steps"]
        return total - step if isinstance(step, int) and isinstance(total, int) else None

    def _on_start(self, event: Mapping[str, Any]) -> None:
        self._facts |= {name: event.get(name) for name in ("total_steps", "num_epochs")}
        self._facts["step"] = event.get("step")

    def _on_step(self, event: Mapping[str, Any]) -> None:
        self.state = "running"
        self._facts |= {"step": event.get("step"), "epoch": event.get("epoch")}
        loss = event.get("loss")
        if isinstance(loss, int | float) and math.isfinite(loss):
            self._facts["loss"] = loss
        self._stopwatch.note_step()

    def _on_evaluation(self, event: Mapping[str, Any]) -> None:
        metric, metrics = event.get("metric"), event.get("metrics")
        value = metrics.get(str(metric)) if isinstance(metrics, Mapping) else None
        self._facts |= {"metric": metric, "value": value}
        step = event.get("step")
        if event.get("best") and isinstance(step, int) and isinstance(value, int | float):
            self._best = [*(item for item in self._best if item[0] < step), (step, value)]

    def _on_finding(self, event: Mapping[str, Any]) -> None:
        severity = str(event.get("severity"))
        # What of the data would have refused the run weighs no less than what calls for action.
        self._severities[str(event.get("by")), str(event.get("name"))] = "act" if severity == "refuse" else severity

    def _on_phase(self, event: Mapping[str, Any]) -> None:
        if str(event.get("phase")) in FINISHING:
            self.state = "finishing"

    def _on_control(self, event: Mapping[str, Any]) -> None:
        self._follow(event)
        if not event.get("accepted"):
            return
        if event.get("command") == "pause":
            self.state = "paused"
            self._stopwatch.pause()
        elif event.get("command") == "resume":
            self.state = "running"
            self._stopwatch.go_on()

    def _on_action(self, event: Mapping[str, Any]) -> None:
        if event.get("action") == "resume":
            self._facts["step"] = event.get("step")
            self._go_back(event.get("step"))
        self._follow(event)

    def _follow(self, event: Mapping[str, Any]) -> None:
        """Where the run went back, what was best since is given up; where that is undone, it holds again."""
        if event.get("undone"):
            self._best, self._given_up = sorted({*self._best, *self._given_up}), []
        if event.get("back_to") is not None:
            self._go_back(event["back_to"])

    def _go_back(self, step: Any) -> None:
        if isinstance(step, int):
            self._given_up = [item for item in self._best if item[0] > step]
            self._best = [item for item in self._best if item[0] <= step]


class _Stopwatch:
    """The time that a step takes, evaluations between included and pauses not."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began: float | None = None
        self._taken = 0
        self._seconds = 0.0
        self._paused_at: float | None = None
        self._paused = 0.0

    def note_step(self) -> None:
        # Counted from the first step's end on: it may compile, or fill caches.
        if self._began is None:
            self._began = self._clock()
            return
        self._taken += 1
        self._seconds = self._clock() - self._began - self._paused

    def pause(self) -> None:
        self._paused_at = self._clock()

    def go_on(self) -> None:
        if self._paused_at is not None and self._began is not None:
            self._paused += self._clock() - self._paused_at
        self._paused_at = None

    def seconds_left(self, steps: int | None) -> float | None:
        if steps is None or not self._taken:
            return None
        return max(0, steps) * self._seconds / self._taken
