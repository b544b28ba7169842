"""The autopilot: applies remedies during a run, measures what they did, and undoes what did not help.

The rules stand in `monitor.autopilot`; the run is changed at its helm. Everything the autopilot remembers is a part of
the run's progress, and hence of every checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from trimtab.core.errors import NonFiniteError, RecipeError
from trimtab.core.events import EventLog
from trimtab.core.said import say
from trimtab.monitor.autopilot import LOWER, Pending, Remedy, State, decide, standard_error, verdict
from trimtab.monitor.findings import Finding
from trimtab.pipeline.helm import Helm
from trimtab.pipeline.parts import Parts
from trimtab.training.records import Progress, StepRecord
from trimtab.training.session import Judgement
from trimtab.training.steering import CannotSteerError

# Between evaluations, what is urgent is looked for so many times a run, and no more often than every so many steps.
URGENT_LOOKS, URGENT_STEPS = 50, 10

Examine = Callable[[bool], Sequence[Finding]]


def refuse_unfit_autopilot(parts: Parts) -> None:
    """See, before a run directory is made, that the autopilot can act in this run.

    Raises:
        RecipeError: several processes train.
    """
    if parts.recipe.monitor.autopilot == "act" and parts.accelerator.num_processes > 1:
        raise RecipeError(
            f"monitor.autopilot: act works in one process, and {parts.accelerator.num_processes} train.",
            remedy="Use --autopilot advise, or train in one process.",
        )


def build_pilot(parts: Parts, helm: Helm, events: EventLog, examine: Examine) -> AutoPilot | None:
    """The autopilot of a run; None where the recipe wants none that acts.

    Args:
        parts: of the run.
        helm: of the run.
        events: the run's record.
        examine: gives what is the matter now; with True, only what cannot wait for an evaluation.
    """
    if parts.recipe.monitor.autopilot != "act":
        return None
    task = parts.ground.task
    metric = task.primary_metric(parts.recipe.evaluation.metric)
    return AutoPilot(helm, events, examine, higher_is_better=task.higher_is_better(metric))


class AutoPilot:
    """See the module.

    Args:
        helm: changes the run.
        events: the run's record.
        examine: see `build_pilot`.
        higher_is_better: direction of the metric that chooses the best weights.
    """

    def __init__(self, helm: Helm, events: EventLog, examine: Examine, *, higher_is_better: bool = True) -> None:
        self.helm = helm
        self.engine = helm.engine
        self.rewind = helm.rewind
        self.events = events
        self.examine = examine
        self.higher_is_better = higher_is_better
        self.state = State.from_dict(self.engine.progress.pilot)
        # Events to be written once a checkpoint knows of them: step and fields.
        self._untold: list[tuple[int, dict[str, Any]]] = []
        self._urgent_every = max(URGENT_STEPS, self.engine.total_steps // URGENT_LOOKS)

    def begin(self) -> None:
        """Keep the state of the start; or, after a resume, change again what was changed."""
        pending = self.state.pending
        if self._progress.step == 0:
            self.rewind.mark_start()
        elif pending is None:
            self.rewind.forget()
        else:
            self.rewind.store.pinned |= set(pending.pinned)
        self.helm.begin()

    def after_step(self, record: StepRecord) -> bool:
        """Act on what cannot wait for an evaluation."""
        if record.skipped is None and record.step % self._urgent_every:
            return False
        findings = [finding for finding in self.examine(True) if finding.severity == "act"]
        return bool(findings) and self._act_at_once(findings)

    def after_evaluation(self, record: StepRecord, judgement: Judgement) -> bool:
        """Settle the action that waits for its effect, then take the next."""
        self._note(record, judgement)
        pending, done = self.state.pending, self.engine.is_done
        if pending is not None:
            helped = verdict(pending, higher_is_better=judgement.higher_is_better, is_last=done)
            if helped is False:
                return self._undo()
            if helped:
                self._settle(pending)
        if self._progress.stopped is not None:
            return False
        return self._take(self.examine(False))

    def rescue(self, error: NonFiniteError) -> bool:
        """Act in place of the end of the run."""
        first = self._progress.step - max(0, self._progress.nonfinite_in_row - 1)
        message = say("{error}", error=error.message.rstrip("."))  # the error's own words
        return self._act_at_once([Finding("divergence", "act", message, first, {}, say("Lower the learning rate."))])

    def give_way(self, remedy: str, back_to: int | None) -> None:
        """A person has changed the run: what waits for its effect stays as it is, and is measured no further.

        Args:
            remedy: that was applied; empty for a change that is none of ours.
            back_to: the step that the run went back to; None where it went on.
        """
        pending, self.state.pending = self.state.pending, None
        if pending is not None:
            self.rewind.forget()
            self._tell_effect(pending, helped=None, undone=False)
        if remedy:
            self.state.taken.append((remedy, self._progress.step))
        if back_to is not None:
            self.state.waited = 0
        self._remember()

    def after_save(self) -> None:
        """Write down what was done."""
        for step, fields in self._untold:
            self.events.write("action", step, **fields)
        self._untold.clear()

    def end(self) -> None:
        """Remove the states that were kept."""
        self.rewind.close()

    @property
    def _progress(self) -> Progress:
        return self.engine.progress

    def _note(self, record: StepRecord, judgement: Judgement) -> None:
        """Keep what an evaluation gave; the loss before it is compared with that since."""
        value, loss = judgement.value, judgement.values.get("loss")
        item = {
            "step": record.step,
            "value": value if math.isfinite(value) else None,
            "loss": loss,
            "error": standard_error(value, judgement.detail, higher_is_better=judgement.higher_is_better),
            "loss_error": float(judgement.detail.get("loss_error") or 0.0),
        }
        if self.state.pending is not None:
            self.state.pending.seen.append(item)
        known = [number for number in (self.state.lowest_loss, loss) if number is not None]
        self.state.lowest_loss = min(known, default=None)
        self.state.waited = 0 if self._progress.best_step == record.step else self.state.waited + 1
        self._remember()

    def _remember(self) -> None:
        self._progress.pilot = self.state.to_dict()

    def _act_at_once(self, findings: Sequence[Finding]) -> bool:
        """Where the run goes to pieces under an action that is not settled, undo that; else take the remedy."""
        pending = self.state.pending
        if pending is not None and pending.remedy != "lower_rate":
            broken = any(finding.name in LOWER and finding.since > pending.branched for finding in findings)
            return broken and self._undo()
        return self._take(findings)

    def _take(self, findings: Sequence[Finding]) -> bool:
        """Apply the remedy that is due, passing over those that this run does not admit."""
        while (remedy := decide(findings, self.state, self.helm.moment(self.state.waited))) is not None:
            try:
                self._apply(remedy)
            except CannotSteerError as error:
                self.state.given_up.append(remedy.rule.remedy)
                self._remember()
                self._tell("autopilot_skip", remedy, reason=error.message)
                self.after_save()
                continue
            return True
        return False

    def _apply(self, remedy: Remedy) -> None:
        """Change the run.

        Raises:
            CannotSteerError: the run does not admit it; nothing was changed.
        """
        rule, progress = remedy.rule, self._progress
        if not rule.changes:
            progress.stopped = f"the autopilot found {remedy.finding.name}"
            self.state.taken.append((rule.remedy, progress.step))
            self._remember()
            self._tell("autopilot", remedy, reason=remedy.reason, before={}, after={"stopped": True})
            return
        earlier = self.state.pending
        # What came since an action that is not settled is given up with it.
        course = self.helm.course(remedy, None if earlier is None else earlier.branched)
        back_to = course.back_to
        self._tell("autopilot", remedy, reason=remedy.reason, **course.told())
        if earlier is None:
            self.rewind.mark()
        pending = Pending(
            rule.remedy,
            remedy.finding.name,
            step=progress.step if earlier is None else earlier.step,
            back_to=back_to,
            value=progress.best_value if earlier is None else earlier.value,
            loss=self.state.lowest_loss if earlier is None else earlier.loss,
            pinned=sorted(self.rewind.store.pinned),
        )
        self.state.taken.append((rule.remedy, progress.step if back_to is None else back_to))
        if course.target is not None:
            self.rewind.go_back(course.target, left=None if earlier is None else earlier.branched)
            self.state.waited = 0
        self.state.pending = pending
        progress.steered = course.steered
        self._remember()
        self.helm.steering.apply()

    def _settle(self, pending: Pending) -> None:
        """The action helped, and stays."""
        self.state.pending = None
        self._remember()
        self.rewind.forget()
        self._tell_effect(pending, helped=True, undone=False)
        self.after_save()

    def _tell(self, action: str, remedy: Remedy, **fields: Any) -> None:
        names = {"action": action, "remedy": remedy.rule.remedy, "finding": remedy.finding.name}
        self._untold.append((self._progress.step, {**names, **fields}))

    def _undo(self) -> bool:
        """Take the run back to before the action, which is not tried again; False where that is not possible."""
        pending, taken = self.state.pending, self.state.taken
        if pending is None:
            return False
        given_up = [*self.state.given_up, pending.remedy]
        undone = self.rewind.can_undo()
        self._tell_effect(pending, helped=False, undone=undone)
        if undone:
            self.rewind.undo(pending.branched)
            self.state = State.from_dict(self._progress.pilot)
        self.state.pending, self.state.taken, self.state.given_up = None, taken, given_up
        self._remember()
        if undone:
            self.rewind.store.pinned.clear()
            self.helm.steering.apply()
        else:
            self.after_save()
        return undone

    def _tell_effect(self, pending: Pending, *, helped: bool | None, undone: bool) -> None:
        values = [item["value"] for item in pending.seen if item["value"] is not None]
        losses = [item["loss"] for item in pending.seen if item["loss"] is not None]
        better = max if self.higher_is_better else min
        fields = {
            "action": "autopilot_effect",
            "remedy": pending.remedy,
            "finding": pending.finding,
            "before": pending.value,
            "after": better(values, default=None),
            "loss_before": pending.loss,
            "loss_after": min(losses, default=None),
            "helped": helped,
            "undone": undone,
            "back_to": pending.step if undone else None,
        }
        self._untold.append((self._progress.step, fields))
