"""Averages of the weights over the steps of a run, kept beside the weights that train."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from trimtab.core.hooks import StepHook

EMA_DECAY = 0.999
SWA_START = 0.5


class WeightAverage(StepHook):
    """What averages have in common: a copy of the parameters, and a count of what went into it.

    Args:
        name: names the average in a checkpoint.
        model: the model that trains.
        parameters: names of the parameters to average; all others do not move.
    """

    def __init__(self, name: str, model: nn.Module, parameters: Iterable[str]) -> None:
        super().__init__(name)
        wanted = set(parameters)
        self._live = {key: parameter for key, parameter in model.named_parameters() if key in wanted}
        self._average = {key: parameter.detach().clone() for key, parameter in self._live.items()}
        self.count = 0

    def tensors(self) -> dict[str, torch.Tensor]:
        """The averages, and how many weights went into them."""
        return {**self._average, "count": torch.tensor(self.count)}

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take the averages back."""
        self.count = int(tensors["count"])
        for key, average in self._average.items():
            average.copy_(tensors[key])

    @torch.no_grad()
    def apply(self) -> None:
        """Put the averages into the model; where nothing was averaged yet, its weights stay."""
        if self.count:
            for key, parameter in self._live.items():
                parameter.copy_(self._average[key])

    def _mix(self, share: float) -> None:
        """Move the averages by `share` towards the weights."""
        torch._foreach_lerp_(list(self._average.values()), [p.detach() for p in self._live.values()], share)
        self.count += 1


class ExponentialAverage(WeightAverage):
    """Moving average: after step t, a ← d·a + (1 − d)·w with d = min(decay, t / (t + 9)).

    The decay grows with the steps so that the pretrained weights, and a random head, soon leave the average (the rule
    of TensorFlow's `ExponentialMovingAverage`, (1 + t) / (10 + t), with t from 0).

    Args:
        model: the model that trains.
        parameters: names of the parameters to average.
        decay: d of later steps.
    """

    def __init__(self, model: nn.Module, parameters: Iterable[str], decay: float = EMA_DECAY) -> None:
        super().__init__("ema", model, parameters)
        self.decay = decay

    @torch.no_grad()
    def after_update(self, step: int) -> None:
        """Take the new weights in."""
        taken = self.count + 1
        self._mix(1.0 - min(self.decay, taken / (taken + 9)))


class StochasticAverage(WeightAverage):
    """Equal average of the weights at regular steps of the end of the run (Izmailov et al. 2018, arXiv 1803.05407).

    Args:
        model: the model that trains.
        parameters: names of the parameters to average.
        every: steps between the weights that are averaged.
        start: share of the run before the first of them.
    """

    def __init__(self, model: nn.Module, parameters: Iterable[str], every: int, start: float = SWA_START) -> None:
        super().__init__("swa", model, parameters)
        self.every = every
        self.start = start
        self._total = 0

    def begin(self, total_steps: int) -> None:
        """Learn the length of the run; the weights of its last step always go into the average."""
        self._total = total_steps

    @torch.no_grad()
    def after_update(self, step: int) -> None:
        """Take the new weights in, where they are due."""
        if step > self.start * self._total and (step % self.every == 0 or step == self._total):
            self._mix(1.0 / (self.count + 1))
