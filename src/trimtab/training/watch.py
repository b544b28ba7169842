"""Whether a value has stopped getting better: behind early stopping, stages, and the rate that falls on a plateau."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Watch:
    """Counts the evaluations since a value last got better.

    Args:
        best: the best value since the count began; None before the first.
        waited: evaluations in a row without a better one.
    """

    best: float | None = None
    waited: int = 0

    def see(self, value: float, *, higher_is_better: bool, min_change: float = 0.0) -> None:
        """Take note of a value. One that is not finite counts as no better.

        Args:
            value: of the newest evaluation.
            higher_is_better: the direction.
            min_change: a value must be better than the best by more than this to count.
        """
        if math.isfinite(value) and (self.best is None or self._gain(value, higher_is_better) > min_change):
            self.best, self.waited = value, 0
        else:
            self.waited += 1

    def restart(self) -> None:
        """Begin anew: nothing has been seen."""
        self.best, self.waited = None, 0

    def _gain(self, value: float, higher_is_better: bool) -> float:
        best = value if self.best is None else self.best
        return value - best if higher_is_better else best - value
