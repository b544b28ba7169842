"""Noise on gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from trimtab.core.hooks import StepHook
from trimtab.core.seeds import stream_seed

# Power with which the variance falls, the paper's only value.
DECAY = 0.55


class GradientNoise(StepHook):
    """N(0, η/(1 + t)^0.55) on every gradient after t steps (Neelakantan et al. 2015, arXiv 1511.06807).

    Added right before the update, to gradients that are clipped already, as in the paper's sections 4.2 and 4.3: noise
    has a norm of √(variance × parameters), by which clipping would scale down all of the gradient.

    Each parameter has its own stream of the seed, the step and its name, drawn on the CPU: the noise is the same on
    every device and in every process, after a resume, and whatever else trains. (About 10 to 20 ns a parameter.)

    Args:
        parameters: by name; those without a gradient in a step are left out of it.
        variance: η, the variance in the first step.
        seed: the run's seed.
        masks: parameter name -> which of its elements train; the others get no noise.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        variance: float,
        seed: int,
        masks: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        super().__init__("gradient_noise")
        self._parameters = dict(parameters)
        self._variance = variance
        self._seed = seed
        self._masks = masks or {}

    def deviation(self, step: int) -> float:
        """Standard deviation of the noise in a step, counted from 1."""
        return math.sqrt(self._variance / step**DECAY)

    def after_backward(self, step: int) -> dict[str, float]:
        """The noise's standard deviation, under `gradient_noise`."""
        return {self.name: self.deviation(step)}

    @torch.no_grad()
    def before_update(self, step: int) -> None:
        """Add the noise."""
        deviation = self.deviation(step)
        for name, parameter in self._parameters.items():
            if parameter.grad is None:
                continue
            generator = torch.Generator().manual_seed(stream_seed(self._seed, "gradient noise", step, name))
            noise = torch.randn(parameter.shape, generator=generator)
            if name in self._masks:
                noise *= self._masks[name].to(noise.device)
            parameter.grad.add_(noise.to(parameter.grad), alpha=deviation)
