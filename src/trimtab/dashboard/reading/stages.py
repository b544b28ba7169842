"""The stages of a run: which parameters trained from which step on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.core.way import Way
from trimtab.dashboard.reading.plain import text, whole


class Stages:
    """Stages as they began; those of steps that a run took back are forgotten with them."""

    def __init__(self) -> None:
        self._begun: list[dict[str, Any]] = []
        self._way = Way(self._take_out, self._put_back)

    def add(self, event: Mapping[str, Any]) -> None:
        """Take note of an `action` or `control` event."""
        self._way.follow(event)
        step = whole(event.get("step"))
        if event.get("action") == "stage" and step is not None:
            self._take_out(step - 1)
            self._begun.append({"name": text(event.get("name"), "stage"), "from": step})

    def told(self, last: int | None) -> list[dict[str, Any]]:
        """`name`, `from` and `to` of each.

        Args:
            last: the step at which the last one ended; None while it goes on.
        """
        ends = [stage["from"] for stage in self._begun[1:]]
        return [{**stage, "to": end} for stage, end in zip(self._begun, [*ends, last], strict=False)]

    def _take_out(self, above: int) -> list[dict[str, Any]]:
        later = [stage for stage in self._begun if stage["from"] > above]
        del self._begun[len(self._begun) - len(later) :]
        return later

    def _put_back(self, later: list[dict[str, Any]]) -> None:
        self._begun += later
