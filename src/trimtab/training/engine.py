"""The one training loop: a generator that yields a `StepRecord` an optimizer step.

Everything else (evaluation, checkpoints, progress, monitors) stands outside and reads the records. The loss is summed
over the rows of a step, in as many pieces as the token budget wants, and divided once by the step's whole weight, over
all processes; so neither accumulation nor the budget nor the number of processes changes the gradient.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from trimtab.config.recipe import Recipe
from trimtab.core.errors import NonFiniteError, OutOfMemoryError
from trimtab.core.hooks import StepHook
from trimtab.data.batching import cut_by_budget, piece_overhead, plan_epoch, steps_per_epoch
from trimtab.data.prefetch import AHEAD, Prefetch, WaitingWatch
from trimtab.models.blocks import Blocks
from trimtab.strategies.base import TrainingPlan, apply_plan, frozen_modules, train_mode
from trimtab.tasks.base import Examples
from trimtab.training.gradients import clip_gradients, scale_gradients
from trimtab.training.left_out import without_rows
from trimtab.training.memory import device_random_state, is_out_of_memory, release_memory, set_device_random_state
from trimtab.training.objective import Objective
from trimtab.training.optimizers import set_rates
from trimtab.training.precision import autocast
from trimtab.training.records import Progress, StepRecord
from trimtab.training.schedules import rate_factor
from trimtab.training.stages import enter_next, is_over, schedule_span

Notify = Callable[..., object]


@dataclass
class Engine:
    """What the loop works on.

    Args:
        model: the bare model on its device.
        blocks: its depth map.
        plan: what trains, and when.
        objective: the loss to be minimised.
        examples: the encoded training rows.
        optimizer: over the parameters that train.
        accelerator: device, processes, backward.
        recipe: resolved, no value left `auto`.
        precision: `bf16` or `fp32`.
        progress: where the run stands; the loop moves it on.
        notify: called with (action, **fields) when the loop acts by itself, as when memory runs out.
        hooks: what takes part in every step, in this order.
        wrap: compiles the model, or wraps it for several processes; called anew whenever what trains changes.
    """

    model: nn.Module
    blocks: Blocks
    plan: TrainingPlan
    objective: Objective
    examples: Examples
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    recipe: Recipe
    precision: str
    progress: Progress
    notify: Notify
    hooks: tuple[StepHook, ...] = ()
    wrap: Callable[[nn.Module], nn.Module] | None = None

    def __post_init__(self) -> None:
        self._bare = self.model
        self._rows = self.examples
        self._frozen: tuple[nn.Module, ...] = ()
        self._planned: tuple[int, list[list[np.ndarray]]] = (-1, [])  # an epoch, and its steps
        self._batches = Prefetch(device=self.accelerator.device)
        self._waiting = WaitingWatch(self._batches, self.accelerator.device.type)
        self._set_stage()

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        training = self.recipe.training
        return steps_per_epoch(len(self.examples), training.batch_size, training.gradient_accumulation_steps)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return total_steps(self.recipe, len(self.examples))

    @property
    def is_done(self) -> bool:
        """Whether no step is left to be taken."""
        return self.progress.step >= self.total_steps or self.progress.stopped is not None

    def observe(self, value: float, higher_is_better: bool) -> bool:
        """Take note of an evaluation: it may end a stage, lower the rate, or end the training.

        Args:
            value: of the metric that chooses the best weights.
            higher_is_better: its direction.

        Returns:
            Whether training ends here (`progress.stopped` says why).
        """
        progress, regularization, schedule = self.progress, self.recipe.regularization, self.recipe.schedule
        progress.stage_watch.see(value, higher_is_better=higher_is_better)
        if schedule.name == "plateau":
            watch = progress.rate_watch
            min_change = schedule.setting("plateau_min_change")
            watch.see(value, higher_is_better=higher_is_better, min_change=min_change)
            if watch.waited > schedule.setting("plateau_patience"):
                progress.rate_reductions += 1
                watch.waited = 0
        patience = regularization.early_stopping_patience
        if patience is None or progress.stage + 1 < len(self.plan.stages):
            return False
        stopping = progress.stopping_watch
        stopping.see(value, higher_is_better=higher_is_better, min_change=regularization.early_stopping_min_change)
        if stopping.waited >= patience and self.progress.step < self.total_steps:
            progress.stopped = f"no better value in {patience} evaluations"
        return progress.stopped is not None

    def steps(self) -> Iterator[StepRecord]:
        """Train from where `progress` stands to the end, yielding after each step.

        Raises:
            NonFiniteError: several steps in a row gave no finite loss or gradient.
            OutOfMemoryError: a single row does not fit the device.
        """
        self.train_mode()
        for hook in self.hooks:
            hook.begin(self.total_steps)
        try:
            yield from self._all_steps()
        finally:
            self._batches.close()

    def _all_steps(self) -> Iterator[StepRecord]:
        while not self.is_done:
            if is_over(self.plan, self.progress, self.steps_per_epoch, self.total_steps):
                enter_next(self.progress)
                self._set_stage()
                self._tell_stage()
            epoch, position = divmod(self.progress.step, self.steps_per_epoch)
            if epoch != self._planned[0]:
                self._planned = epoch, self._plan(epoch)
            plan = self._planned[1]
            yield self._step(plan[position], plan[position + 1 : position + 1 + AHEAD])

    def renew(self) -> None:
        """Go on from where `progress` stands now, with what trains now: either was changed from outside."""
        self._planned = (-1, [])
        self.optimizer.zero_grad(set_to_none=True)
        self._set_stage()

    def train_mode(self) -> None:
        """Back to training mode, as after an evaluation; what is frozen stays in evaluation mode."""
        train_mode(self.model, self._frozen)

    def _set_stage(self) -> None:
        """Let train what the present stage trains, and freeze all else."""
        # A stage may change what batches hold: activations in place of tokens.
        self._batches.reset()
        stage = self.progress.stage
        apply_plan(self._bare, self.plan, stage)
        self._frozen = frozen_modules(self._bare, self.blocks, self.plan, stage)
        for hook in self.hooks if self.plan.stages else ():
            hook.enter_stage(stage)
        if self.wrap is not None:
            self.model = self.wrap(self._bare)
        self.train_mode()

    def _tell_stage(self) -> None:
        stage = self.plan.stages[self.progress.stage]
        self.notify("stage", stage=self.progress.stage, name=stage.name, groups=list(stage.groups))

    def _plan(self, epoch: int) -> list[list[np.ndarray]]:
        training = self.recipe.training
        self._rows = self.examples.at_epoch(epoch)
        planned = plan_epoch(
            self._rows.lengths,
            batch_size=training.batch_size,
            accumulation=training.gradient_accumulation_steps,
            seed=self.recipe.seed,
            epoch=epoch,
        )
        return without_rows(planned, self.progress.steered.left_out)

    def _step(self, batches: list[np.ndarray], later: Sequence[list[np.ndarray]] = ()) -> StepRecord:
        """Take one optimizer step over the rows of `batches`, and move `progress` on; `later` are the next steps."""
        began = time.perf_counter()
        number = self.progress.step + 1
        rates = self._set_rates(number)
        sums = self._accumulate_within_memory(batches, number, later)
        loss = sums.loss / sums.weight
        extras: dict[str, float] = {}
        norm = math.nan
        if math.isfinite(loss):
            if not sums.divided:
                # Several processes average their gradients; the sum over all rows is that average times their number.
                scale_gradients(self.optimizer, self.accelerator.num_processes / sums.weight)
            for hook in self.hooks:
                extras |= hook.after_backward(number)
            norm = clip_gradients(self.optimizer, self.recipe.training.max_grad_norm)
        skipped = _why_skipped(loss, norm)
        if skipped is None:
            self._update(number)
            self.progress.nonfinite_in_row = 0
        else:
            self.progress.nonfinite_in_row += 1
        self.optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - began
        data_seconds = self._batches.take_waited()
        self._waiting.note(seconds, data_seconds)
        self.progress.step = number
        self.progress.examples += sum(len(rows) for rows in batches)
        self.progress.seconds += seconds
        return StepRecord(
            step=number,
            epoch=number / self.steps_per_epoch,
            loss=loss if math.isfinite(loss) else None,
            learning_rates=rates,
            grad_norm=norm if math.isfinite(norm) else None,
            weight=int(sums.weight),
            tokens=sums.tokens,
            padded_tokens=sums.padded_tokens,
            pieces=sums.pieces,
            seconds=seconds,
            skipped=skipped,
            rows=tuple(int(row) for rows in batches for row in rows) if skipped else (),
            stage=self.progress.stage,
            extras=extras,
            data_seconds=data_seconds,
        )

    def _set_rates(self, number: int) -> dict[str, float]:
        """Set each group's rate for a step, and return the rates of the groups that train in the present stage."""
        begun, span = schedule_span(self.plan, self.progress, self.steps_per_epoch, self.total_steps)
        factor = rate_factor(self.recipe.schedule, number - begun, span, self.progress.rate_reductions)
        factor *= self.progress.steered.rate_scale
        if not self.plan.stages:
            # The optimizer may hold groups in reserve, which do not train.
            training = {group.name for group in self.plan.groups}
            return {name: rate for name, rate in set_rates(self.optimizer, factor).items() if name in training}
        stage = self.plan.stages[self.progress.stage]
        rates = set_rates(self.optimizer, factor, stage.rates)
        return {name: rate for name, rate in rates.items() if name in stage.groups}

    def _update(self, number: int) -> None:
        for hook in self.hooks:
            hook.before_update(number)
        self.optimizer.step()
        for hook in self.hooks:
            hook.after_update(number)

    def check_finite(self, record: StepRecord, row_numbers: Callable[[tuple[int, ...]], str]) -> None:
        """Stop the run when too many steps in a row were skipped.

        Args:
            record: the step just taken.
            row_numbers: turns row indices into words that lead to the rows in the user's files.

        Raises:
            NonFiniteError: with the step, the rows, and what to try.
        """
        limit = self.recipe.training.max_nonfinite_steps
        if record.skipped is None or self.progress.nonfinite_in_row < limit:
            return
        raise NonFiniteError(
            f"Step {record.step}: {record.skipped}, for the {limit}. step in a row. The weights are those before the "
            f"first of them. Rows of this step: {row_numbers(record.rows)}.",
            remedy=f"Try a lower rate (--learning-rate {self.optimizer.param_groups[0]['base_lr'] / 10:g}), "
            "training.precision=fp32, or training.max_grad_norm=0.5; look at the rows named for values that are not "
            "text or not images.",
        )

    def _accumulate_within_memory(
        self, batches: list[np.ndarray], number: int, later: Sequence[list[np.ndarray]]
    ) -> _Sums:
        """Run the backward passes of a step; where memory runs out, halve the token budget and do the step again."""
        while True:
            random_state = device_random_state(self.accelerator.device)
            try:
                return self._accumulate(batches, number, later)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = (str(error) or type(error).__name__).splitlines()[0][:200]
            # Outside the except block, so that the traceback no longer holds the activations.
            self._shrink_budget(number, reason)
            set_device_random_state(self.accelerator.device, random_state)

    def _shrink_budget(self, number: int, reason: str) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        release_memory()
        longest = int(self._rows.lengths.max())
        if self.progress.token_budget <= longest:
            raise OutOfMemoryError(
                f"Step {number}: the device's memory does not hold a single row of {longest} tokens ({reason}).",
                remedy="Try training.gradient_checkpointing=true, a smaller task.max_length, --strategy partial, or a "
                "smaller model.",
            )
        before = self.progress.token_budget
        self.progress.token_budget = max(longest, before // 2)
        self.notify("shrink_token_budget", before=before, after=self.progress.token_budget, reason=reason)

    def _accumulate(self, batches: list[np.ndarray], number: int, later: Sequence[list[np.ndarray]] = ()) -> _Sums:
        """Forward and backward over every piece of this process's share; gradients are left as sums.

        Those of a single piece are divided by its weight already: its loss was, which takes one number's time.
        """
        sums = _Sums()
        pieces = self._pieces(batches)
        # Every process must take part in the exchange of gradients: one without a row adds a row that counts nothing.
        counts = 1 if pieces else 0
        pieces = pieces or [batches[0][:1]]
        sums.divided = len(pieces) == 1 and self.accelerator.num_processes == 1
        losses: list[torch.Tensor] = []
        following = (piece for step in later for piece in self._pieces(step))
        for index, batch in enumerate(self._batches.batches(self._rows.collate, pieces, following)):
            last = index == len(pieces) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                loss, weight = self.objective.loss(self._forward, batch, number)
                # Without weight there is nothing to divide by; the step then fails as one of several pieces does.
                self.accelerator.backward(loss / weight if sums.divided and weight else loss * counts)
            losses.append(loss.detach() * counts)
            sums.weight += weight * counts
            sums.tokens += batch.tokens * counts
            sums.padded_tokens += batch.padded_tokens * counts
        sums.pieces = len(pieces)
        sums.loss = float(torch.stack(losses).sum())
        return self._over_processes(sums)

    def _pieces(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        """This process's pieces of a step."""
        return [piece for rows in batches for piece in self._cut(self._share(rows))]

    def _cut(self, rows: np.ndarray) -> list[np.ndarray]:
        """Pieces of the token budget, with what a piece costs on this device."""
        overhead = piece_overhead(self.accelerator.device.type)
        return cut_by_budget(rows, self._rows.lengths, self.progress.token_budget, overhead)

    def _forward(self, inputs: dict[str, torch.Tensor]) -> Any:
        """The model's outputs, in the run's precision."""
        with autocast(self.accelerator.device, self.precision):
            return self.model(**inputs)

    def _share(self, rows: np.ndarray) -> np.ndarray:
        """This process's rows of a batch; none where the batch has fewer rows than there are processes."""
        return rows[self.accelerator.process_index :: self.accelerator.num_processes]

    def _over_processes(self, sums: _Sums) -> _Sums:
        """Sum loss, weight and tokens over all processes."""
        if self.accelerator.num_processes == 1:
            return sums
        values = torch.tensor(
            [sums.loss, sums.weight, sums.tokens, sums.padded_tokens],
            dtype=torch.float64,
            device=self.accelerator.device,
        )
        loss, weight, tokens, padded = self.accelerator.reduce(values, reduction="sum").tolist()
        return _Sums(loss=loss, weight=int(weight), tokens=int(tokens), padded_tokens=int(padded), pieces=sums.pieces)


@dataclass
class _Sums:
    """Sums over the pieces of a step."""

    loss: float = 0.0
    weight: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    pieces: int = 0
    # Whether the gradients were divided by the weight already.
    divided: bool = False


def total_steps(recipe: Recipe, rows: int) -> int:
    """Optimizer steps of a whole run over `rows` training rows."""
    training = recipe.training
    if isinstance(training.num_epochs, str):
        raise ValueError("training.num_epochs is still 'auto': the recipe was not resolved")
    steps = training.num_epochs * steps_per_epoch(rows, training.batch_size, training.gradient_accumulation_steps)
    return steps if training.max_steps is None else min(steps, training.max_steps)


def _why_skipped(loss: float, norm: float) -> str | None:
    if not math.isfinite(loss):
        return f"the loss is {'NaN' if math.isnan(loss) else 'infinite'}"
    if not math.isfinite(norm):
        return f"the gradient is {'NaN' if math.isnan(norm) else 'infinite'}"
    return None
