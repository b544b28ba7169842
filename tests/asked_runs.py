"""Runs of a tiny model of which something is asked, as files in the run directory, after steps that are told."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import autopilot_runs
import pytest
import torch

from trimtab.core.events import read_events
from trimtab.core.runs import RunDirectory
from trimtab.monitor.findings import Finding
from trimtab.pipeline.control import Controller

Asks = Mapping[int, Sequence[Mapping[str, Any]]]


def put(folder: Path, number: int, request: Mapping[str, Any] | str) -> None:
    """Leave a request in a run directory, as another process does."""
    control = folder / "control"
    control.mkdir(exist_ok=True)
    text = request if isinstance(request, str) else json.dumps({"by": "test", **request})
    aside = control / ".aside"
    aside.write_text(text)
    aside.rename(control / f"{number:020d}-test.json")


class AskedRun(autopilot_runs.Run):
    """A run that looks for requests after every step.

    Args:
        folder: of the run.
        asks: what is asked, by the step after which it is there.
        findings: what the doctor finds, for remedies.
        pauses: what becomes of a paused run each time it looks: a request, a signal's number, or nothing.
        examine: for an autopilot that acts; None for none.
        fields: see `autopilot_runs.Run`.
    """

    def __init__(
        self,
        folder: Path,
        asks: Asks,
        *,
        findings: Sequence[Finding] = (),
        pauses: Sequence[Mapping[str, Any] | int | None] = (),
        examine: autopilot_runs.Examine | None = None,
        values: Mapping[int, float] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(folder, examine, values or {0: 0.5}, **fields)
        self.waited: list[float] = []
        self._number = 0
        self._pauses = list(pauses)
        self.controller = Controller(
            RunDirectory(folder),
            self.helm,
            self.log,
            lambda name: next((finding for finding in findings if finding.name == name), None),
            pilot=self.pilot,
            on_wait=self.waited.append,
        )
        self.session.control = self.controller

        left = dict(asks)

        def hear(event: dict[str, Any]) -> None:
            # Once: the step comes again where the run goes back.
            for request in left.pop(event["step"], ()) if event["type"] == "step" else ():
                self.ask(request)

        # Before the listener that kills, so that a killed run has been asked the same.
        self.log._listeners.insert(0, hear)

    def ask(self, request: Mapping[str, Any] | str) -> None:
        """Leave a request."""
        self._number += 1
        put(self.folder, self._number, request)

    def run(self) -> dict[str, torch.Tensor]:
        """Train to the end, without waiting; the last weights."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("trimtab.pipeline.control.POLL_SECONDS", 0.0)
            patch.setattr("trimtab.training.session.time.sleep", self._sleep)
            return super().run()

    def answers(self) -> list[dict[str, Any]]:
        """The answers, in their order."""
        return [event for event in read_events(self.folder / "events.jsonl") if event["type"] == "control"]

    def rates(self) -> dict[int, float]:
        """The rate of each step; the later line of a step holds."""
        events = read_events(self.folder / "events.jsonl")
        return {event["step"]: event["learning_rates"]["all"] for event in events if event["type"] == "step"}

    def _sleep(self, seconds: float) -> None:
        assert self._pauses, "the paused run waits for ever"
        happens = self._pauses.pop(0)
        if isinstance(happens, int):
            os.kill(os.getpid(), signal.Signals(happens))
        elif happens is not None:
            self.ask(happens)


def command(name: str, **fields: Any) -> dict[str, Any]:
    """A request."""
    return {"command": name, **fields}
