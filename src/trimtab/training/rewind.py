"""Going back in a run: the states that a change can start from, and those that it can be undone to.

Beside the run's own checkpoints there are, in `checkpoints/autopilot/`:

- `start`: the state before the first step;
- `before`: the state in which the present change was made, to which undoing it leads back;
- `aside`: the run's checkpoints from after the step that the change went back to; they belong to what was left, and
  undoing the change brings them back.

A process killed at any instant resumes from a checkpoint of before or after the change. In the first case the same
steps lead to the same change, and what it finds here of its first attempt is the same or replaced.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from torch import nn

from trimtab.training.checkpoints import Checkpoint, CheckpointStore, find_fault, random_states, restore
from trimtab.training.engine import Engine
from trimtab.training.records import Progress

FOLDER = "autopilot"


class Rewind:
    """The way back of one run in one process.

    Args:
        engine: the loop; model, optimizer, hooks and progress are taken back together.
        model: the bare model.
        store: the run's checkpoints.
    """

    def __init__(self, engine: Engine, model: nn.Module, store: CheckpointStore) -> None:
        self.engine = engine
        self.model = model
        self.store = store
        folder = store.folder / FOLDER
        self._start = CheckpointStore(folder / "start", 1)
        self._before = CheckpointStore(folder / "before", 1)
        self._aside = folder / "aside"

    def mark_start(self) -> None:
        """Keep the state before the first step; what an earlier attempt at this run left is removed."""
        self.close()
        self._save(self._start)

    def mark(self) -> None:
        """Keep the present state, to undo what is done next; the run's best checkpoints are kept with it."""
        self.forget()
        self._save(self._before)
        self.pin()

    def pin(self) -> None:
        """Keep the checkpoints that the best weights before the change are in."""
        progress = self.engine.progress
        self.store.pinned |= {progress.best_step, *(step for step, _ in progress.best)}

    def forget(self) -> None:
        """The change holds, or was undone: nothing leads back from it any more."""
        shutil.rmtree(self._before.folder, ignore_errors=True)
        shutil.rmtree(self._aside, ignore_errors=True)
        self.store.pinned.clear()

    def close(self) -> None:
        """Remove all that is kept beside the run's checkpoints."""
        self.forget()
        shutil.rmtree(self.store.folder / FOLDER, ignore_errors=True)

    def state_at(self, step: int) -> Checkpoint | None:
        """The sound checkpoint of a step of the run, 0 for its start; None where there is none."""
        found = self._start.all() if step == 0 else [item for item in self.store.all() if item.step == step]
        return next((item for item in found if find_fault(item.path) is None), None)

    def can_undo(self) -> bool:
        """Whether the state before the present change is still there."""
        return any(find_fault(checkpoint.path) is None for checkpoint in self._before.all())

    def go_back(self, to: Checkpoint, left: int | None = None) -> None:
        """Take weights, optimizer, hooks, random state and progress back to an earlier step.

        Checkpoints of later steps are put aside.

        Args:
            to: from `state_at`.
            left: the step that an earlier change, not yet settled, went back to: what came after it is given up.
        """
        if left is not None:
            self.discard_after(left)
        self._aside.mkdir(parents=True, exist_ok=True)
        # The newest first: one that is left over after a kill has all that it refers to.
        for checkpoint in reversed(list(_after(self.store, to.step))):
            _move(checkpoint.path, self._aside)
        self.become(to)

    def undo(self, branched: int) -> None:
        """Take everything back to the state before the present change.

        Args:
            branched: the step from which on the run went another way; its checkpoints from after it are given up.
        """
        self.discard_after(branched)
        if self._aside.is_dir():
            for path in sorted(self._aside.iterdir()):
                _move(path, self.store.folder)
        self.become(self._before.all()[-1])

    def discard_after(self, step: int) -> None:
        """Give up the run's checkpoints of later steps."""
        self.store.discard([checkpoint.path.name for checkpoint in _after(self.store, step)])

    def become(self, checkpoint: Checkpoint) -> None:
        """Restore a checkpoint into the living run; the time spent and the memory found out stay known.

        No checkpoint is touched: `discard_after` removes those of later steps, once the way that the run takes now has
        one of its own.
        """
        engine, progress = self.engine, self.engine.progress
        seconds, budget = progress.seconds, progress.token_budget
        # A parameter that had no state then must have none now.
        engine.optimizer.state.clear()
        restored: Progress = restore(checkpoint, self.model, engine.optimizer, hooks=engine.hooks)
        progress.become(restored)
        progress.seconds = seconds
        progress.token_budget = min(budget, progress.token_budget)

    def _save(self, store: CheckpointStore) -> None:
        engine = self.engine
        random = random_states(engine.accelerator.process_index)
        store.save(self.model, engine.optimizer, engine.progress, random, engine.hooks)


def _after(store: CheckpointStore, step: int) -> Iterator[Checkpoint]:
    return (checkpoint for checkpoint in store.all() if checkpoint.step > step)


def _move(path: Path, folder: Path) -> None:
    """Move a checkpoint into a folder, in place of one that is there."""
    target = folder / path.name
    shutil.rmtree(target, ignore_errors=True)
    path.replace(target)
