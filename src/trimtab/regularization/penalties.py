"""Penalties on weights, added to the gradients by their analytic derivative.

A penalty is a part of the loss. Its gradient therefore is clipped together with the loss's, and goes through the
optimizer: with plain SGD, λ/2·‖w‖² and decoupled decay of λ are the same, but with Adam the penalty's gradient enters
both moments and is divided by the root of the second, so that weights with large gradients are pulled less.
Decoupled decay (`optimizer.weight_decay`) pulls all in proportion to their size (Loshchilov & Hutter 2019, arXiv
1711.05101).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from trimtab.core.hooks import StepHook


class L1Penalty(StepHook):
    """λ·Σ|w|, the lasso (Tibshirani 1996). The subgradient is λ·sign(w), 0 at 0.

    Args:
        parameters: the weights it acts on; those without a gradient in a step (frozen, unused) are left out of it.
        strength: λ.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], strength: float) -> None:
        super().__init__("l1")
        self._parameters = tuple(parameters)
        self._strength = strength

    @torch.no_grad()
    def after_backward(self, step: int) -> dict[str, float]:
        """Add the subgradient; the value under `l1`."""
        sizes = []
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.grad.add_(parameter.sign(), alpha=self._strength)
                sizes.append(torch.linalg.vector_norm(parameter, ord=1))
        return {self.name: self._strength * _sum(sizes)}


@dataclass(frozen=True)
class Pull:
    """strength/2·‖w − target‖².

    Args:
        parameter: w.
        strength: factor, the derivative being strength·(w − target).
        target: of w's shape and on its device; None stands for zero.
        rows: the first so many rows of w are pulled; all when None.
    """

    parameter: nn.Parameter
    strength: float
    target: torch.Tensor | None = None
    rows: int | None = None


class L2Penalty(StepHook):
    """A sum of pulls: the plain L2 penalty, or L2-SP.

    Targets are no part of a checkpoint: they are the pretrained weights, which every start and resume reads anew.

    Args:
        name: `l2` or `l2_sp`.
        pulls: parameters without a gradient in a step (frozen, unused) are left out of it.
    """

    def __init__(self, name: str, pulls: Sequence[Pull]) -> None:
        super().__init__(name)
        self._pulls = tuple(pulls)

    @torch.no_grad()
    def after_backward(self, step: int) -> dict[str, float]:
        """Add the gradient; the value under the hook's name."""
        values = []
        for pull in self._pulls:
            if pull.parameter.grad is None:
                continue
            # The difference first: (g + s·w) − s·target would lose what little separates w from its target.
            weight = pull.parameter[: pull.rows]
            distance = weight if pull.target is None else weight - pull.target[: pull.rows]
            pull.parameter.grad[: pull.rows].add_(distance, alpha=pull.strength)
            values.append(pull.strength / 2 * torch.linalg.vector_norm(distance).square())
        return {self.name: _sum(values)}


def l2_penalty(parameters: Iterable[nn.Parameter], strength: float) -> L2Penalty:
    """λ/2·‖w‖² (ridge; Hoerl & Kennard 1970)."""
    return L2Penalty("l2", [Pull(parameter, strength) for parameter in parameters])


def l2_sp_penalty(
    pretrained: Iterable[nn.Parameter],
    head: Iterable[nn.Parameter],
    alpha: float,
    beta: float,
    rows: Mapping[int, int] | None = None,
) -> L2Penalty:
    """L2-SP (Li, Grandvalet & Davoine 2018, arXiv 1802.01483): α/2·‖w − w⁰‖² + β/2·‖w_new‖².

    Args:
        pretrained: w; their present values are taken as w⁰, so build it before training or a restore.
        head: w_new, weights that start at random.
        alpha: α.
        beta: β.
        rows: identity of a parameter -> how many of its first rows are pretrained, where not all are.
    """
    known = rows or {}
    pulls = [Pull(parameter, alpha, parameter.detach().clone(), known.get(id(parameter))) for parameter in pretrained]
    if beta:
        pulls += [Pull(parameter, beta) for parameter in head]
    return L2Penalty("l2_sp", pulls)


def _sum(values: list[torch.Tensor]) -> float:
    """The sum as a number, with one wait for the device; 0 for none."""
    return float(torch.stack(values).sum()) if values else 0.0
