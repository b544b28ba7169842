"""What every tracker is: told the figures of a run in the order of its steps, by a thread beside the training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from trimtab.config.tracking import TrackingSection
from trimtab.core.optional import require
from trimtab.core.runs import RunDirectory
from trimtab.integrations.points import Row


@dataclass(frozen=True)
class Place:
    """Where a tracker writes.

    Args:
        run: the run directory.
        section: what the recipe says of tracking.
        name: of the run, for people.
        folder: a folder for this run; a tracker makes its own in it.
    """

    run: RunDirectory
    section: TrackingSection
    name: str
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        state: `finished`, `stopped` or `failed`.
        step: optimizer steps taken.
        time: seconds since the epoch.
        message: why, of a run that did not finish; the verdict of one that did.
        judged: the content of `evaluation.json`; empty for one that did not finish.
    """

    state: str
    step: int
    time: float
    message: str = ""
    judged: Mapping[str, Any] = field(default_factory=dict)


class Tracker(ABC):
    """Writes for one program. All is called from one thread; whatever is raised ends this tracker, and never the run.

    Args:
        place: where to write.
        state: what `state` gave in the session before; empty in a new run.
    """

    name: ClassVar[str]
    extra: ClassVar[str] = ""
    """The extra that brings `packages`."""
    packages: ClassVar[tuple[str, ...]] = ()
    goes_back: ClassVar[bool]
    """Whether steps can be taken back. Of one that cannot, no step is told twice: what was told first stays."""
    most_steps: ClassVar[int | None] = None
    """About so many steps of a run are written, where the recipe leaves it open; all when None."""

    def __init__(self, place: Place, state: Mapping[str, Any]) -> None:
        self.place = place

    @classmethod
    def check(cls, section: TrackingSection) -> None:
        """See that it can work here.

        Raises:
            MissingDependencyError: a package is not installed; the extra is named.
            RecipeError: the recipe cannot be followed.
        """
        for package in cls.packages:
            if find_spec(package) is None:
                require(package, extra=cls.extra, purpose=f"write for {cls.name} (tracking.to)")

    @abstractmethod
    def begin(self, start: Mapping[str, Any], recipe: Mapping[str, Any]) -> int | None:
        """Open it; give the last step that it holds already, None where it holds nothing of the run.

        Args:
            start: the `start` event.
            recipe: dotted key -> value.
        """

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Add rows, each of a later step than those before."""

    def go_back(self, step: int) -> None:  # noqa: B027 (for those that can)
        """Take back what was written of steps above `step`; called only where `goes_back`."""

    @abstractmethod
    def finding(self, event: Mapping[str, Any]) -> None:
        """Add a finding of the doctor, or of the data report."""

    @abstractmethod
    def end(self, outcome: Outcome) -> None:
        """Write how the run ended, and close."""

    def flush(self) -> None:  # noqa: B027 (most hold nothing back)
        """Hand over what is held back; called about once a second."""

    def state(self) -> dict[str, Any]:
        """What the next session needs to go on, ready for JSON."""
        return {}
