"""The frozen prefix computed once: activations below the lowest trained block, kept on disk and reused.

Every later epoch, evaluation and run with the same frozen weights and the same rows reads them instead of computing
them. It stands beside the loop: the examples add the activations to a batch, and the model, cut above its frozen
blocks, takes them in place of running these blocks. Where a stage unfreezes more, the cut moves down with it; all cuts
that later stages need are filled by one pass.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from trimtab.core.cache import MIB, DiskCache
from trimtab.core.hooks import StepHook
from trimtab.data.batching import Batch, cut_by_budget
from trimtab.models.blocks import Blocks
from trimtab.models.cut import Cut, NoCutError, frozen_depth
from trimtab.strategies.base import TrainingPlan
from trimtab.tasks.base import Examples
from trimtab.training.activations import ActivationStore, Form, Located
from trimtab.training.memory import is_out_of_memory, release_memory
from trimtab.training.precision import autocast
from trimtab.training.prefix_rows import PrefixExamples, Savings, form_of, rows_of

TRIAL_ROWS = 2


class FrozenPrefix(StepHook):
    """Keeps the cut of the model, and the activations of the rows at it, in step with the stages of a plan.

    Args:
        model: the bare model on its device.
        blocks: its depth map.
        plan: what trains, and when.
        cache: where activations are kept.
        accelerator: device and processes.
        precision: of the run.
        token_budget: most tokens that pass through the model at once.
        context: what else the activations depend on (versions, hardware), for their key.
        worth_filling: whether the run is long enough to make activations that are not there yet.
        notify: called with (action, **fields) when activations were made or found.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Blocks,
        plan: TrainingPlan,
        cache: DiskCache,
        *,
        accelerator: Accelerator,
        precision: str,
        token_budget: int,
        context: Sequence[Any] = (),
        worth_filling: bool = True,
        notify: Callable[..., object] = lambda action, **fields: None,
    ) -> None:
        super().__init__("frozen_prefix")
        self.model = model
        self.blocks = blocks
        self.plan = plan
        self.cache = cache
        self.accelerator = accelerator
        self.precision = precision
        self.token_budget = token_budget
        self.context = (precision, *context)
        self.worth_filling = worth_filling
        self.notify = notify
        self.savings = Savings()
        self._cuts: list[Cut] = []
        self._stores: list[ActivationStore] = []
        self._stage = 0
        self._begun = False
        self._wrapped: list[PrefixExamples] = []
        self._own_folder: tempfile.TemporaryDirectory[str] | None = None

    def wrap(self, examples: Examples) -> PrefixExamples:
        """The same rows, whose batches hold activations while the model is cut."""
        wrapped = PrefixExamples(examples, self.savings)
        self._wrapped.append(wrapped)
        return wrapped

    def begin(self, total_steps: int) -> None:
        """Cut the model, and fill what is not there yet."""
        self._begun = True
        self._enter()

    def enter_stage(self, stage: int) -> None:
        """Move the cut to where the stage's lowest trained block is."""
        self._stage = stage
        if self._begun:
            self._enter()

    def close(self) -> None:
        """The model as it was; activations that could be kept for this run only are removed."""
        self._begun = False
        self._uncut()
        if self._own_folder is not None:
            self._own_folder.cleanup()
            self._own_folder = None

    def _enter(self) -> None:
        self._uncut()
        depths = self._depths()
        if not depths or not self._wrapped:
            return
        try:
            self._cuts = self._made_cuts(depths)
            for wrapped in self._wrapped:
                wrapped.located = self._located(wrapped.inner)
        except NoCutError as error:
            note = f"The frozen blocks run anew in every pass: {error}."
            if note not in self.savings.notes:
                self.savings.notes.append(note)
            self._uncut()
            return
        self._cuts[0].install()

    def _uncut(self) -> None:
        for cut in self._cuts[:1]:
            cut.remove()
        self._cuts, self._stores = [], []
        for wrapped in self._wrapped:
            wrapped.located = None

    def _depths(self) -> dict[int, Collection[str]]:
        """The cut of the present stage, with lower ones that later stages need; what trains above each."""
        found: dict[int, Collection[str]] = {}
        for stage in range(self._stage, max(1, len(self.plan.stages))):
            trained = self.plan.trained_in(stage)
            depth = frozen_depth(self.blocks, trained)
            if depth and (not found or depth < min(found)):
                found[depth] = trained
            elif not found:
                return {}
        return found

    def _made_cuts(self, depths: dict[int, Collection[str]]) -> list[Cut]:
        """The present cut, and of later ones those that can be made."""
        present, *later = depths.items()
        cuts = [self._cut(*present)]
        for depth, trained in later:
            with contextlib.suppress(NoCutError):
                cuts.append(self._cut(depth, trained))
        return cuts

    def _cut(self, depth: int, trained: Collection[str]) -> Cut:
        examples = self._wrapped[0].inner
        batch = examples.collate(np.arange(min(TRIAL_ROWS, len(examples)))).to(self.accelerator.device)
        with autocast(self.accelerator.device, self.precision):
            return Cut(self.model, self.blocks, depth, trained, batch.inputs)

    def _located(self, examples: Examples) -> Located | None:
        """Where the activations of all these rows are, made where they are not there yet; None without a cache.

        Raises:
            NoCutError: they have no common form, or do not fit the cache.
        """
        keys = examples.keys()
        if keys is None or not len(keys):
            return None
        if not self._stores:
            forms = [form_of(tensor, batch) for tensor, batch in self._try(examples)]
            self._stores = [
                ActivationStore(self.cache, cut.fingerprint(*self.context), form)
                for cut, form in zip(self._cuts, forms, strict=True)
            ]
        located = self._stores[0].find(keys)
        if not len(located.missing):
            return located
        if not self.worth_filling:
            raise NoCutError("the run is too short to repay keeping their output")
        self._fill(examples, keys, located.missing)
        located = self._stores[0].find(keys)
        if len(located.missing):
            raise NoCutError("their output could not be kept on the disk")
        return located

    def _try(self, examples: Examples) -> list[tuple[torch.Tensor, Batch]]:
        batch = examples.collate(np.arange(1))
        return [(tensor, batch) for tensor in self._below(batch)]

    def _fill(self, examples: Examples, keys: np.ndarray, missing: np.ndarray) -> None:
        """Pass rows through the frozen blocks, this process its share of them, and keep what comes out."""
        began = time.perf_counter()
        rows = missing[np.unique(keys[missing], return_index=True)[1]]
        stores = self._affordable(examples, rows)
        mine = rows[self.accelerator.process_index :: self.accelerator.num_processes]
        try:
            self._write(examples, keys, mine, stores)
        except OSError:
            # A folder of this run's own, where the cache's cannot be written.
            if self._own_folder is None:
                self._own_folder = tempfile.TemporaryDirectory(prefix="trimtab-activations-")
            own = DiskCache("activations", Path(self._own_folder.name), self.cache.budget_bytes)
            for store in stores:
                store.cache = own
            with contextlib.suppress(OSError):
                self._write(examples, keys, mine, stores)
        self.accelerator.wait_for_everyone()
        for store in stores:
            store.refresh()
        seconds = time.perf_counter() - began
        mib = sum(_bytes(examples, rows, store.form) for store in stores) / MIB
        self.savings.add(len(rows), seconds, mib)
        self.notify(
            "fill_cache", rows=len(rows), found=len(keys) - len(missing), seconds=round(seconds, 3), mib=round(mib, 1)
        )

    def _affordable(self, examples: Examples, rows: np.ndarray) -> list[ActivationStore]:
        """The stores that fit the cache together; at least that of the present cut.

        Raises:
            NoCutError: not even that one does.
        """
        stores = self._stores
        while sum(_bytes(examples, rows, store.form) for store in stores) > self.cache.budget_bytes:
            stores = stores[:-1]
        if not stores:
            needed = -(-_bytes(examples, rows, self._stores[0].form) // MIB)
            raise NoCutError(f"their output takes {needed:,} MiB (cache.prefix_mib={self.cache.budget_bytes // MIB:,})")
        return stores

    def _write(self, examples: Examples, keys: np.ndarray, rows: np.ndarray, stores: list[ActivationStore]) -> None:
        if not len(rows):
            return
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(store.writer(keys[rows])) for store in stores]
            waiting = cut_by_budget(rows, examples.lengths, self.token_budget)[::-1]
            while waiting:
                piece = waiting.pop()
                batch = examples.collate(piece)
                tensors = self._within_memory(batch)
                if tensors is None:
                    waiting.extend([piece[len(piece) // 2 :], piece[: len(piece) // 2]])
                    continue
                for writer, tensor in zip(writers, tensors, strict=False):
                    writer.add(keys[piece], rows_of(tensor, batch, writer.form))

    def _within_memory(self, batch: Batch) -> list[torch.Tensor] | None:
        """The activations of a batch; None where the memory does not hold it and it can be cut in two."""
        try:
            return self._below(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(next(iter(batch.inputs.values()))) == 1:
                raise
        release_memory()
        return None

    def _below(self, batch: Batch) -> list[torch.Tensor]:
        inputs = batch.to(self.accelerator.device).inputs
        with torch.no_grad(), autocast(self.accelerator.device, self.precision):
            return [tensor.cpu() for tensor in self._cuts[0].below(inputs, self._cuts[1:])]


def _bytes(examples: Examples, rows: np.ndarray, form: Form) -> int:
    positions = int(examples.lengths[rows].sum()) if form.per_token else len(rows)
    return positions * form.bytes_per_position
