"""Which recorded steps hold, where a run goes back, takes another way, and perhaps returns to the one that it left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

Rows = TypeVar("Rows")


class Way(Generic[Rows]):
    """Follows the `action` and `control` events of a run for somebody who keeps a row a step.

    A resumed run takes the steps after its checkpoint again, and a person may send a run back: what was recorded of
    later steps is void. The autopilot goes back on trial: what it leaves is put aside, and holds again where the action
    is undone.

    Args:
        take_out: removes the rows of all steps above one, and returns them.
        put_back: appends rows that were taken out.
    """

    def __init__(self, take_out: Callable[[int], Rows], put_back: Callable[[Rows], object]) -> None:
        self._take_out = take_out
        self._put_back = put_back
        self._settle()

    def follow(self, event: Mapping[str, Any]) -> None:
        """Take note of the next event; one that makes no sense changes nothing."""
        action, step, back_to = event.get("action"), _step(event.get("step")), _step(event.get("back_to"))
        if action == "resume" and step is not None:
            self._take_out(step)
        elif action == "autopilot" and step is not None:
            self._try(step, back_to)
        elif action == "autopilot_effect":
            self._conclude(back_to if event.get("undone") else None)
        elif back_to is not None:
            self._take_out(back_to)

    def _settle(self) -> None:
        self._left: int | None = None  # the last step before the first action that is on trial
        self._base: int | None = None  # the earliest step that such actions went back to
        self._aside: list[Rows] = []  # rows from after the base to the step that was left

    def _try(self, step: int, back_to: int | None) -> None:
        self._left = step if self._left is None else self._left
        if back_to is None:
            return
        if self._base is not None and back_to >= self._base:
            self._take_out(back_to)
            return
        # Above it are steps of the trial, which nobody returns to.
        self._take_out(self._left if self._base is None else self._base)
        self._aside.insert(0, self._take_out(back_to))
        self._base = back_to

    def _conclude(self, returns_to: int | None) -> None:
        base, aside = self._base, self._aside
        self._settle()
        if returns_to is None:
            return
        self._take_out(returns_to if base is None else base)
        for rows in aside:
            self._put_back(rows)


def _step(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
