"""Runs of Weights & Biases, offline: nothing leaves this machine before `wandb sync`."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from trimtab.core.registry import TRACKERS
from trimtab.integrations.points import Row, results
from trimtab.integrations.trackers.base import Outcome, Place, Tracker


@TRACKERS.register("wandb")
class Wandb(Tracker):
    """Weights & Biases, offline: recipe as config, figures by step, findings and results in the summary."""

    extra: ClassVar[str] = "wandb"
    packages: ClassVar[tuple[str, ...]] = ("wandb",)
    goes_back: ClassVar[bool] = False
    most_steps: ClassVar[int | None] = 5000

    def __init__(self, place: Place, state: Mapping[str, Any]) -> None:
        super().__init__(place, state)
        self._id = str(state.get("id") or uuid.uuid4().hex[:8])
        self._last = int(state.get("step") or 0)
        self._run: Any = None

    def begin(self, start: Mapping[str, Any], recipe: Mapping[str, Any]) -> int | None:
        """Open an offline run; of one that is resumed, another part under the same id.

        A part that nobody has synchronised is replaced as a whole: a killed process leaves it without its last steps.
        """
        # It would report on its use to its makers, over the network.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.place.folder.mkdir(parents=True, exist_ok=True)
        parts = list((self.place.folder / "wandb").glob(f"offline-run-*-{self._id}"))
        synchronised = [part for part in parts if any(part.glob("*.synced"))]
        for part in parts:
            if not synchronised:
                shutil.rmtree(part)
        self._run = wandb.init(
            mode="offline",
            id=self._id,
            resume="allow",
            project=self.place.section.project,
            name=self.place.name,
            dir=str(self.place.folder),
            config=dict(recipe),
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                x_disable_meta=True,
                reinit="create_new",
            ),
        )
        return self._last if synchronised else None

    def write(self, rows: Sequence[Row]) -> None:
        """Log the figures of each step."""
        for row in rows:
            self._run.log(row.values, step=row.step)
            self._last = row.step

    def finding(self, event: Mapping[str, Any]) -> None:
        """Put it into the summary."""
        text = f"{event.get('severity')}: {event.get('message')} {event.get('remedy') or ''}".strip()
        self._run.summary[f"finding/{event.get('name')}"] = text

    def end(self, outcome: Outcome) -> None:
        """Put the final metrics into the summary, add report and recipe, and close."""
        run = self.place.run
        self._run.summary.update({"state": outcome.state, "message": outcome.message, **results(outcome.judged)})
        for file in (run.recipe, run.path / "report.html"):
            if file.is_file() and outcome.judged:
                self._run.save(str(file), base_path=str(run.path), policy="now")
        self._run.finish(exit_code=0 if outcome.state == "finished" else 1)

    def state(self) -> dict[str, Any]:
        """The run's id, and the last step told."""
        return {"id": self._id, "step": self._last}
