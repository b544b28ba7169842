"""A run's engine in this process, for what is measured from inside: overhead and profile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from runs import EQUAL_WORK

from trimtab.api import with_data
from trimtab.core.events import EventLog
from trimtab.pipeline.check import check
from trimtab.pipeline.loop import build_engine
from trimtab.pipeline.parts import Parts, build_parts
from trimtab.pipeline.token_rows import train_rows_in_use
from trimtab.training.optimizers import build_optimizer
from trimtab.training.records import Progress

if TYPE_CHECKING:
    import numpy as np

    from trimtab.training.engine import Engine
    from trimtab.training.records import StepRecord


class Loop:
    """The loop of a run, a bare loop over the same batches, and the choice of the steps that each takes.

    Args:
        parts: ready to train.
        folder: for the record of events.
    """

    def __init__(self, parts: Parts, folder: Path) -> None:
        self.parts = parts
        self.events = EventLog(folder / "events.jsonl")
        # As `train` does, with what it wraps around the model.
        train_rows_in_use(parts)
        optimizer = build_optimizer(parts.model, parts.plan, parts.recipe.optimizer)
        progress = Progress(token_budget=int(parts.recipe.training.max_tokens_per_batch))
        self.engine: Engine = build_engine(parts, optimizer, progress, lambda action, **fields: None)
        self._records = self.engine.steps()

    def ours(self, first: int, count: int) -> list[StepRecord]:
        """Our loop over the batches of `count` steps from step `first` on, from 0."""
        self.engine.progress.step = first
        return [next(self._records) for _ in range(count)]

    def record(self, records: list[StepRecord]) -> None:
        """What a run does with each step's record: it is written down, and judged."""
        for record in records:
            self.events.write("step", record.step, **record.to_event())
            self.engine.check_finite(record, str)

    def bare(self, first: int, count: int) -> None:
        """Forward, backward, clipping and update by hand, over the same batches in the same pieces and precision."""
        engine, objective = self.engine, self.parts.objective
        examples, optimizer = self.parts.examples["train"], self.engine.optimizer
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for number in range(first, first + count):
            rows = self.rows_of(number)
            for piece in engine._cut(rows):
                batch = examples.collate(piece).to(engine.accelerator.device)
                loss, _ = objective.loss(engine._forward, batch, number + 1)
                (loss / len(rows)).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def rows_of(self, number: int) -> np.ndarray:
        """The rows of a step of the first epoch."""
        (rows,) = self._plan[number]
        return rows

    @property
    def _plan(self) -> list[list[np.ndarray]]:
        if not hasattr(self, "_planned"):
            self._planned = self.engine._plan(0)
        return self._planned


@contextmanager
def loop_of(settings: Mapping[str, Any], seed: int) -> Iterator[Loop]:
    """The loop of a run of these recipe keys, not yet begun."""
    resolved, source = with_data({**EQUAL_WORK, **settings, "seed": seed}, None, None, origin="python")
    ground, _ = check(resolved, source)
    with TemporaryDirectory() as folder:
        yield Loop(build_parts(resolved, ground), Path(folder))


def seconds_of(action: Any) -> float:
    """Wall time of a call."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
