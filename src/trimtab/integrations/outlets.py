"""Alerts and trackers beside a run: opened before its first event, closed after its last. None can harm it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trimtab.config.origins import ResolvedRecipe
from trimtab.config.recipe import Recipe
from trimtab.core.errors import InterruptedRun, TrimtabError
from trimtab.core.events import EventLog, read_events
from trimtab.core.registry import TRACKERS
from trimtab.core.runs import RunDirectory
from trimtab.integrations.alerts import Alerts
from trimtab.integrations.channels import open_channels
from trimtab.integrations.trackers.base import Outcome
from trimtab.integrations.tracking import Tracking, read_object


def check_outlets(recipe: Recipe) -> None:
    """See, before data are read, that the alerts and trackers of a recipe can work here.

    Raises:
        MissingDependencyError: a package is not installed; the extra is named.
        RecipeError: a variable is not set, or a program is not there.
    """
    open_channels(recipe.alerts)
    for name in recipe.tracking.to:
        TRACKERS.get(name).check(recipe.tracking)


@contextmanager
def outlets(run: RunDirectory, resolved: ResolvedRecipe, events: EventLog, *, resumed: bool) -> Iterator[None]:
    """While entered, alerts and trackers hear the run's events; at the end they are told how it ended.

    What fails is written into the record as an action (`alert_failed`, `tracker_failed`), once each. A resumed run goes
    on though a channel or a package is not there any more. Where `events` writes no file, as on all processes but the
    first, nothing is opened.
    """
    if events.path is None:
        yield
        return
    going = _Outlets(run, resolved, events, resumed=resumed)
    try:
        yield
    except BaseException as error:
        going.close(error)
        raise
    going.close(None)


class _Outlets:
    """What is open beside one run."""

    def __init__(self, run: RunDirectory, resolved: ResolvedRecipe, events: EventLog, *, resumed: bool) -> None:
        self._run, self._events = run, events
        self._step = 0
        self._verdict = ""
        self._finished = False
        self._alerts = self._open_alerts(resolved.recipe, resumed=resumed)
        tracking = resolved.recipe.tracking
        self._tracking = Tracking(run, tracking, resolved.values(), resumed=resumed) if tracking.to else None
        if self._alerts is not None or self._tracking is not None:
            events.listen(self._hear)

    def close(self, error: BaseException | None) -> None:
        """Tell how the run ended, and wait a little for what is on its way."""
        state, message, remedy = self._end(error)
        if self._alerts is not None:
            self._alerts.end(state, message, remedy)
        if self._tracking is not None:
            judged = read_object(self._run.evaluation) if state == "finished" else {}
            said = self._verdict if state == "finished" else f"{message} {remedy}".strip()
            self._tracking.close(Outcome(state, self._step, time.time(), said, judged))
        if self._alerts is not None:
            self._alerts.close()
        self._tell_faults()

    def _hear(self, event: dict[str, Any]) -> None:
        self._step = event.get("step") or self._step
        if event["type"] == "end":
            self._finished, self._verdict = True, str(event.get("verdict") or "")
        if event["type"] == "action" and event.get("action") in ("alert_failed", "tracker_failed"):
            return
        for outlet in (self._alerts, self._tracking):
            if outlet is not None:
                outlet.hear(event)
        self._tell_faults()

    def _end(self, error: BaseException | None) -> tuple[str, str, str]:
        """State, message and remedy."""
        if error is None or self._finished:
            return "finished", "", ""
        if isinstance(error, InterruptedRun):
            return "stopped", error.message, error.remedy
        if isinstance(error, KeyboardInterrupt):
            return "stopped", "The run was interrupted.", f"Go on with: trimtab resume {self._run.path}"
        if isinstance(error, TrimtabError):
            return "failed", error.message, error.remedy
        return "failed", f"{type(error).__name__}: {error}", f"Go on with: trimtab resume {self._run.path}"

    def _open_alerts(self, recipe: Recipe, *, resumed: bool) -> Alerts | None:
        if not recipe.alerts.has_channel:
            return None
        try:
            channels = open_channels(recipe.alerts)
        except TrimtabError as error:
            self._tell("alert_failed", channel="all", reason=error.message)
            return None
        earlier = list(read_events(self._run.events, leave_out=("step", "signals"))) if resumed else []
        return Alerts(recipe.alerts, self._run, channels, earlier)

    def _tell_faults(self) -> None:
        """Write down what has failed since the last time, from the thread of the run: the record has one writer."""
        for channel, reason in self._alerts.faults() if self._alerts is not None else ():
            self._tell("alert_failed", channel=channel, reason=reason)
        for tracker, reason in self._tracking.faults() if self._tracking is not None else ():
            self._tell("tracker_failed", tracker=tracker, reason=reason)

    def _tell(self, action: str, **fields: Any) -> None:
        self._events.write("action", self._step, action=action, **fields)
