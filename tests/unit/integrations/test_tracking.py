"""What trackers are told by the thread beside a run, in this session and after a kill."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from trimtab.config.tracking import TrackingSection
from trimtab.core.registry import TRACKERS
from trimtab.core.runs import RunDirectory
from trimtab.integrations import tracking as module
from trimtab.integrations.points import Row
from trimtab.integrations.trackers.base import Outcome, Place, Tracker
from trimtab.integrations.tracking import Tracking

TOLD: list[Any] = []


class Listed(Tracker):
    """Keeps what it is told in a list."""

    goes_back: ClassVar[bool] = True
    held: ClassVar[int | None] = None
    fails: ClassVar[bool] = False

    def __init__(self, place: Place, state: Mapping[str, Any]) -> None:
        super().__init__(place, state)
        TOLD.append(("open", dict(state)))

    def begin(self, start: Mapping[str, Any], recipe: Mapping[str, Any]) -> int | None:
        TOLD.append(("recipe", sorted(recipe)))
        return self.held

    def write(self, rows: Sequence[Row]) -> None:
        if self.fails:
            raise ValueError("broken")
        TOLD.extend(("row", row.step, row.values.get("train/loss")) for row in rows)

    def go_back(self, step: int) -> None:
        TOLD.append(("back", step))

    def finding(self, event: Mapping[str, Any]) -> None:
        TOLD.append(("finding", event["name"]))

    def end(self, outcome: Outcome) -> None:
        TOLD.append(("end", outcome.state))


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> type[Listed]:
    """The tracker `listed`, fresh."""
    TOLD.clear()
    TRACKERS.names()
    fresh = type("Fresh", (Listed,), {"__doc__": "Keeps all."})
    monkeypatch.setitem(TRACKERS._plugins, "listed", fresh)
    monkeypatch.setattr(module, "PERIOD_SECONDS", 0.005)
    return fresh


def step(number: int, loss: float = 1.0) -> dict[str, Any]:
    return {"type": "step", "time": 1.0, "step": number, "loss": loss}


def start(**fields: Any) -> dict[str, Any]:
    return {"type": "start", "time": 0.0, "step": 0, "total_steps": 10, **fields}


def finding(name: str, severity: str = "act") -> dict[str, Any]:
    return {"type": "finding", "time": 0.0, "step": 0, "name": name, "severity": severity, "by": "doctor"}


def session(tmp_path: Path, events: list[dict[str, Any]], *, resumed: bool = False, **section: Any) -> Tracking:
    """Go through a session whose record is written as it goes."""
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir(exist_ok=True)
    recipe = {"seed": 0, "alerts.webhook": "env:X", "tracking.to": ["listed"], "output": "x", "data.path": "d"}
    tracking = Tracking(run, TrackingSection(to=["listed"], **section), recipe, resumed=resumed)
    with open(run.events, "a", encoding="utf-8") as file:
        for event in events:
            file.write(json.dumps(event) + "\n")
            file.flush()
            tracking.hear(event)
    tracking.close(Outcome("finished", 3, time.time()))
    return tracking


def rows() -> list[int]:
    return [entry[1] for entry in TOLD if entry[0] == "row"]


def test_each_step_is_told_when_it_is_over_and_the_last_at_the_end(kind: type[Listed], tmp_path: Path) -> None:
    session(tmp_path, [start(), finding("early"), step(1), step(2), step(3)])
    assert [entry[0] for entry in TOLD] == ["open", "recipe", "finding", "row", "row", "row", "end"]
    assert rows() == [1, 2, 3]


def test_what_is_private_is_told_to_nobody(kind: type[Listed], tmp_path: Path) -> None:
    session(tmp_path, [start()])
    assert ("recipe", ["data.path", "seed"]) in TOLD


def test_a_run_without_a_start_opens_nothing(kind: type[Listed], tmp_path: Path) -> None:
    session(tmp_path, [])
    assert TOLD == []


@pytest.mark.parametrize(
    ("goes_back", "held", "expected"),
    [
        # Told further than the checkpoint at 4: taken back, told anew.
        (True, 6, [("back", 4), ("row", 5, 55.0), ("row", 6, 66.0), ("row", 7, 77.0)]),
        # Cannot go back: what was told stays.
        (False, 6, [("row", 7, 77.0)]),
        # Not told all before the checkpoint: the rest comes from the record.
        (
            True,
            2,
            [("back", 4), ("row", 3, 3.0), ("row", 4, 4.0), ("row", 5, 55.0), ("row", 6, 66.0), ("row", 7, 77.0)],
        ),
        (False, 3, [("row", 4, 4.0), ("row", 5, 55.0), ("row", 6, 66.0), ("row", 7, 77.0)]),
    ],
)
def test_a_resumed_run_is_told_without_holes_and_double_points(
    kind: type[Listed], tmp_path: Path, goes_back: bool, held: int, expected: list[Any]
) -> None:
    session(tmp_path, [start(), finding("one"), *(step(number, float(number)) for number in range(1, 7))])
    TOLD.clear()
    kind.goes_back, kind.held = goes_back, held
    again = [step(number, number * 11.0) for number in (5, 6, 7)]
    resume = {"type": "action", "action": "resume", "step": 4, "time": 9.0}
    session(tmp_path, [start(resumed=True, time=8.0), resume, finding("one"), finding("two"), *again], resumed=True)
    told = [entry for entry in TOLD if entry[0] in ("row", "back")]
    assert told == expected
    # A finding that was told before is not told again; its state went through `tracking.json`.
    assert [entry[1] for entry in TOLD if entry[0] == "finding"] == ["two"]
    assert TOLD[0][1]["begun"] is True


def test_one_that_lost_everything_is_told_everything(kind: type[Listed], tmp_path: Path) -> None:
    session(tmp_path, [start(), finding("one"), step(1), step(2)])
    TOLD.clear()
    resume = {"type": "action", "action": "resume", "step": 2, "time": 9.0}
    session(tmp_path, [start(resumed=True, time=8.0), resume, step(3)], resumed=True)
    assert rows() == [1, 2, 3]
    assert [entry[1] for entry in TOLD if entry[0] == "finding"] == ["one"]


def test_a_run_that_goes_back_by_itself(kind: type[Listed], tmp_path: Path) -> None:
    session(tmp_path, [start(), step(1), step(2), step(3), step(2, 22.0), step(3, 33.0)])
    told = [entry for entry in TOLD if entry[0] in ("row", "back")]
    assert told[-3:] == [("back", 1), ("row", 2, 22.0), ("row", 3, 33.0)]


def test_steps_are_thinned_out_and_evaluations_never(kind: type[Listed], tmp_path: Path) -> None:
    evaluation = {"type": "evaluation", "time": 0.0, "step": 5, "metrics": {"loss": 1.0}}
    events = [start(), *map(step, range(1, 6)), evaluation, *map(step, range(6, 10))]
    session(tmp_path, events, every_steps=4)
    assert rows() == [1, 4, 5, 8]
    TOLD.clear()
    kind.most_steps = 3
    session(tmp_path, events)
    assert rows() == [1, 4, 5, 8]


def test_a_fault_ends_the_tracker_and_is_told_once(kind: type[Listed], tmp_path: Path) -> None:
    kind.fails = True
    tracking = session(tmp_path, [start(), step(1), step(2), step(3)])
    assert tracking.faults() == [("listed", "ValueError: broken")]
    assert tracking.faults() == []
    assert ("end", "finished") not in TOLD


def test_a_folder_that_another_run_wrote_into_is_left(kind: type[Listed], tmp_path: Path) -> None:
    taken = tmp_path / "logs" / "run"
    taken.mkdir(parents=True)
    (taken / "x").touch()
    session(tmp_path, [start()], folder=str(tmp_path / "logs"))
    state = json.loads((tmp_path / "run" / "tracking.json").read_text(encoding="utf-8"))
    assert state["folder"] == str(tmp_path / "logs" / "run-2")
