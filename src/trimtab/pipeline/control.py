"""What people ask of a run while it runs, carried out between two steps and answered in its record.

What changes the run is in a checkpoint before it is answered: a run that is killed and resumed goes on with it, to the
same weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from trimtab.core.control import Request, clear_requests, take_requests
from trimtab.core.errors import nearest
from trimtab.core.events import EventLog
from trimtab.core.runs import RunDirectory
from trimtab.monitor.autopilot import ADVICE_ONLY, BEFORE_TRAINING, RULES, Remedy, on_request
from trimtab.monitor.findings import Finding
from trimtab.pipeline.autopilot import AutoPilot
from trimtab.pipeline.helm import Course, Helm, NoStateError
from trimtab.training.records import Progress
from trimtab.training.session import Session
from trimtab.training.steering import CannotSteerError

POLL_SECONDS = 0.5
"""Requests are looked for at most so often: a look costs as much as a missing file."""

Find = Callable[[str], Finding | None]


class Controller:
    """Answers the requests of one run, see `training.session.Control`.

    Args:
        run: the run directory.
        helm: changes the run.
        events: the run's record.
        find: gives the finding of a name, None for no such.
        pilot: the autopilot, which is told of what is changed; None without one.
        on_wait: called with the seconds that the run was paused.
    """

    def __init__(
        self,
        run: RunDirectory,
        helm: Helm,
        events: EventLog,
        find: Find,
        *,
        pilot: AutoPilot | None = None,
        on_wait: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        self.run = run
        self.helm = helm
        self.events = events
        self.find = find
        self.pilot = pilot
        self.on_wait = on_wait
        self._stop_asked = False
        self._paused_at: float | None = None
        self._looked = float("-inf")
        self._seen: set[str] = set()
        self._listens = helm.engine.accelerator.is_main_process

    @property
    def paused(self) -> bool:
        """Whether the run is to wait."""
        return self._paused_at is not None

    @property
    def stop_asked(self) -> bool:
        """Whether it is to end after the present step."""
        return self._stop_asked

    def begin(self) -> None:
        """Change again what was changed before an interruption."""
        self.helm.begin()

    def requests(self) -> list[Request]:
        """What was asked since the last call."""
        now = time.monotonic()
        if not self._listens or now - self._looked < POLL_SECONDS * (not self.paused):
            return []
        self._looked = now
        # One whose file could not be removed would come again and again.
        fresh = [request for request in take_requests(self.run) if request.id not in self._seen]
        self._seen |= {request.id for request in fresh}
        return fresh

    def carry_out(self, request: Request, session: Session) -> None:
        """Do what is asked, or say why not."""
        try:
            if request.fault or self._too_late:
                raise CannotSteerError(request.fault or self._too_late)
            reason, told = getattr(self, f"_{request.command}")(request.fields, session)
        except CannotSteerError as error:
            self._answer(request, self._progress.step, accepted=False, reason=error.message)
            return
        self._answer(request, told.pop("step", self._progress.step), accepted=True, reason=reason, **told)

    def end(self) -> None:
        """Refuse what comes too late."""
        if not self._listens:
            return
        for request in take_requests(self.run):
            reason = self._too_late or "the run takes no more steps"
            self._answer(request, self._progress.step, accepted=False, reason=reason)
        clear_requests(self.run)

    @property
    def _progress(self) -> Progress:
        return self.helm.progress

    @property
    def _too_late(self) -> str:
        if self._stop_asked:
            return "the run was stopped"
        return "the run takes no more steps" if self.helm.engine.is_done else ""

    def _answer(self, request: Request, step: int, **fields: Any) -> None:
        asked = {"id": request.id, "command": request.command, "by": request.by, **request.fields}
        self.events.write("control", step, **{**asked, **fields})

    def _pause(self, fields: Mapping[str, Any], session: Session) -> tuple[str, dict[str, Any]]:
        if self.paused:
            raise CannotSteerError("it is paused already")
        self._paused_at = time.monotonic()
        return f"it waits after step {self._progress.step}", {}

    def _resume(self, fields: Mapping[str, Any], session: Session) -> tuple[str, dict[str, Any]]:
        if self._paused_at is None:
            raise CannotSteerError("it is not paused")
        seconds, self._paused_at = time.monotonic() - self._paused_at, None
        self.on_wait(seconds)
        return f"it goes on after step {self._progress.step}", {"seconds": round(seconds, 3)}

    def _stop(self, fields: Mapping[str, Any], session: Session) -> tuple[str, dict[str, Any]]:
        session.save()
        self._stop_asked = True
        return f"it ends after step {self._progress.step}, with a checkpoint to resume from", {}

    def _checkpoint(self, fields: Mapping[str, Any], session: Session) -> tuple[str, dict[str, Any]]:
        session.save()
        name = f"step-{self._progress.step:08d}"
        return f"checkpoint {name} is written", {"checkpoint": name}

    def _learning_rate(self, fields: Mapping[str, Any], session: Session) -> tuple[str, dict[str, Any]]:
        course = self.helm.change("scale_rate", {"factor": float(fields["factor"])})
        self._turn(course, session, "")
        scale = course.steered.rate_scale
        return f"every learning rate is now {scale:g} times that of the recipe", course.told()

    def _remedy(self, fields: Mapping[str, Any], session: Session) -> tuple[str, dict[str, Any]]:
        if self.helm.engine.accelerator.num_processes > 1:
            raise CannotSteerError("remedies are applied in one process, and several train")
        finding = self._found(str(fields["finding"]))
        remedies = on_request(finding, self.helm.moment(), fields.get("remedy"))
        if not remedies:
            raise CannotSteerError(_no_remedy(finding, fields.get("remedy")))
        step, reasons = self._progress.step, []
        for remedy in remedies:
            try:
                told = self._apply(remedy, session)
            except CannotSteerError as error:
                reasons.append(f"{remedy.rule.remedy}: {error.message}")
                continue
            return told.pop("reason"), {"step": step, "remedy": remedy.rule.remedy, **told}
        others = [rule.remedy for rule in RULES if finding.name in rule.findings and not rule.changes]
        named = f"; {others[0]} is left, and has to be named" if others and not fields.get("remedy") else ""
        raise CannotSteerError("; ".join(reasons) + named)

    def _found(self, name: str) -> Finding:
        """What the doctor finds by a name.

        Raises:
            CannotSteerError: it finds no such thing.
        """
        finding = self.find(name)
        if finding is not None:
            return finding
        if name in ADVICE_ONLY:
            raise CannotSteerError(f"{name} is answered by no change of a run that goes on. {ADVICE_ONLY[name]}")
        known = {found for rule in (*RULES, *BEFORE_TRAINING) for found in rule.findings}
        raise CannotSteerError(f"the doctor finds no {name!r} in it{'' if name in known else nearest(name, known)}")

    def _apply(self, remedy: Remedy, session: Session) -> dict[str, Any]:
        """Apply a remedy, and say what was changed and why.

        Raises:
            CannotSteerError: the run does not admit it; nothing was changed.
        """
        if not remedy.rule.changes:
            if self._progress.best_value is None:
                raise CannotSteerError("no evaluation says yet which weights are the best")
            self._progress.stopped = f"{remedy.rule.remedy} was asked for, because of {remedy.finding.name}"
            session.save_anew()
            return {"reason": "training ends here", "before": {}, "after": {"stopped": True}, "back_to": None}
        try:
            course, where = self.helm.course(remedy), ""
        except NoStateError as error:
            if self._progress.nonfinite_in_row:
                raise
            # Better from here on than not at all: who asks sees what the run looks like.
            course, where = self.helm.change(remedy.rule.changes, remedy.settings), f"; from here on: {error.message}"
        self._turn(course, session, remedy.rule.remedy)
        if course.back_to is not None:
            where = f"; it went back to step {course.back_to}"
        return {"reason": remedy.reason.rstrip(".") + where, **course.told()}

    def _turn(self, course: Course, session: Session, remedy: str) -> None:
        """Change the run, and see that a checkpoint knows of it."""
        self.helm.turn(course)
        if self.pilot is not None:
            self.pilot.give_way(remedy, course.back_to)
        session.save_anew(at_start=True)
        self.helm.close_behind(course)


def _no_remedy(finding: Finding, wanted: str | None) -> str:
    """Why nothing answers a finding."""
    names = [rule.remedy for rule in RULES if finding.name in rule.findings]
    if wanted is not None and wanted not in names:
        return f"{wanted!r} is no remedy for {finding.name}{': ' + ', '.join(names) if names else ''}"
    if names:
        return f"the finding does not say what {names[0]} needs: it may have been told of an earlier part of the run"
    before = [rule.remedy for rule in BEFORE_TRAINING if finding.name in rule.findings]
    if before:
        return f"{before[0]}, which answers {finding.name}, comes before the first step: train anew"
    change = ", ".join(f"{key}={value}" for key, value in finding.change.items())
    return f"no change of a run that goes on answers {finding.name}" + (f": train anew with {change}" if change else "")
