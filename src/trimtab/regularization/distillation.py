"""Learning without forgetting: drawing the model towards what its frozen original makes of the same rows.

Li & Hoiem (2016, arXiv 1606.09282) keep the old outputs on the new data, by a cross-entropy at a temperature of 2. A
model with a new head has no old outputs: there the representations below the head are kept instead (as in feature
distillation, Romero et al. 2015, "FitNets", arXiv 1412.6550).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn

from trimtab.config.forgetting import Distance, Target
from trimtab.core.errors import RecipeError
from trimtab.data.batching import Batch
from trimtab.training.objective import Forward, Objective
from trimtab.training.precision import autocast


class Caught:
    """Holds the last hidden states of the newest forward pass, `[batch, …]`; None before the first one."""

    hidden: torch.Tensor | None = None


def backbone_of(model: nn.Module) -> nn.Module:
    """The base model below the task head.

    Raises:
        RecipeError: the model does not say where its head begins.
    """
    prefix = getattr(model, "base_model_prefix", "")
    backbone = getattr(model, prefix, None) if prefix else None
    if not isinstance(backbone, nn.Module) or backbone is model:
        raise RecipeError(
            f"A model of class {type(model).__name__} does not say which part of it lies below the head, so that its "
            "representations cannot be kept.",
            remedy="Leave out forgetting.ewc and forgetting.distillation, or choose a model of transformers.",
        )
    return backbone


@contextmanager
def catching(model: nn.Module) -> Iterator[Caught]:
    """Catch the last hidden states of `model`'s base model in every forward pass within.

    A forward hook on the base model itself sees them also where the model around it is wrapped for several devices,
    and whatever the class of the outputs is. Models made by `torch.compile` may pass such a hook over.
    """
    caught = Caught()

    def catch(module: nn.Module, args: Any, output: Any) -> None:
        named = getattr(output, "last_hidden_state", None)
        caught.hidden = output[0] if named is None else named

    handle = backbone_of(model).register_forward_hook(catch)
    try:
        yield caught
    finally:
        handle.remove()


def positions(hidden: torch.Tensor, attention_mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states as a list of positions, float32 `[batch, positions, units]`, and the weight of each position.

    Args:
        hidden: `[batch, seq, units]`, the feature map of a convolutional network `[batch, units, height, width]`,
            or one vector a row `[batch, units]`.
        attention_mask: 1 on tokens and 0 on padding, `[batch, seq]`; None where every position counts.

    Returns:
        The hidden states and weights `[batch, positions]` that sum to 1 in each row.
    """
    if hidden.ndim == 4:
        hidden = hidden.flatten(2).transpose(1, 2)
    if hidden.ndim == 2:
        hidden = hidden.unsqueeze(1)
    if attention_mask is not None and hidden.shape[1] > attention_mask.shape[1]:
        # Prompts that an adapter put before the tokens.
        hidden = hidden[:, -attention_mask.shape[1] :]
    if attention_mask is None or attention_mask.shape != hidden.shape[:2]:
        mask = torch.ones(hidden.shape[:2], device=hidden.device)
    else:
        mask = attention_mask.float()
    return hidden.float(), mask / mask.sum(dim=1, keepdim=True).clamp(min=1)


def pooled(hidden: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """Mean of the hidden states over a row's tokens, or over a feature map, `[batch, units]`; see `positions`."""
    states, weights = positions(hidden, attention_mask)
    return (states * weights.unsqueeze(-1)).sum(dim=1)


def representation_distance(
    student: torch.Tensor,
    teacher: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    target: Target,
    distance: Distance,
) -> torch.Tensor:
    """How far two models' hidden states lie apart, row by row.

    Args:
        student: hidden states as for `positions`.
        teacher: those of the other model, of the same shape.
        attention_mask: see `positions`.
        target: `pooled` compares their means, `tokens` compares each position and takes the mean of the distances.
        distance: `mse`, the squared difference averaged over the units; or `cosine`, 1 − cosine.

    Returns:
        Distances of at least 0, float32 `[batch]`.
    """
    if target == "pooled":
        student, teacher = pooled(student, attention_mask), pooled(teacher, attention_mask)
        attention_mask = None
    mine, weights = positions(student, attention_mask)
    other, _ = positions(teacher, attention_mask)
    if distance == "mse":
        apart = (mine - other).square().mean(dim=-1)
    else:
        apart = 1 - functional.cosine_similarity(mine, other, dim=-1)
    return (apart * weights).sum(dim=1)


def logit_distance(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T² · KL(teacher ‖ student) of the class probabilities at temperature T, row by row.

    The factor T² keeps the size of the gradient as T grows (Hinton et al. 2015, arXiv 1503.02531, section 2). The
    gradient is that of the cross-entropy of Li & Hoiem, from which the divergence differs by a constant.

    Args:
        student: logits, `[batch, classes]`.
        teacher: logits, of the same shape.
        temperature: divides both.

    Returns:
        Divergences of at least 0 in nats, float32 `[batch]`.
    """
    mine = (student.float() / temperature).log_softmax(dim=-1)
    other = (teacher.float() / temperature).log_softmax(dim=-1)
    return temperature**2 * functional.kl_div(mine, other, reduction="none", log_target=True).sum(dim=-1)


class DistillationObjective:
    """Adds to another objective the distance between the model and its frozen original on the same rows.

    Each forward pass that the other objective makes (R-Drop makes two) is compared with the original's; the distance
    is averaged over the rows and passes and counts by the batch's weight, so that its gradient is that of the mean over
    the step's rows, however these are cut in pieces. The original needs as much memory again as the model's weights,
    and a forward pass in each step.

    Args:
        inner: the objective whose loss is added to.
        student: the bare model that trains; `forward` passes through it.
        teacher: the frozen original on the same device; put into evaluation mode.
        weight: weight of the mean distance.
        target: `pooled`, `tokens` or `logits`.
        distance: distance of representations.
        temperature: for `logits`.
        device: where both are.
        precision: `bf16` or `fp32`, for the original's forward pass.

    Raises:
        RecipeError: the model does not say where its head begins.
    """

    def __init__(
        self,
        inner: Objective,
        student: nn.Module,
        teacher: nn.Module,
        *,
        weight: float,
        target: Target,
        distance: Distance,
        temperature: float,
        device: torch.device,
        precision: str,
    ) -> None:
        backbone_of(student)
        self.inner = inner
        self.student = student
        self.teacher = teacher.eval().requires_grad_(False)
        self.weight = weight
        self.target = target
        self.distance = distance
        self.temperature = temperature
        self.device = device
        self.precision = precision

    def loss(self, forward: Forward, batch: Batch, step: int) -> tuple[torch.Tensor, int]:
        """The other objective's summed loss, plus weight × mean distance × the batch's weight."""
        passes: list[tuple[dict[str, torch.Tensor], Any, torch.Tensor | None]] = []
        with catching(self.student) as caught:

            def watched(inputs: dict[str, torch.Tensor]) -> Any:
                outputs = forward(inputs)
                passes.append((inputs, outputs, caught.hidden))
                return outputs

            total, weight = self.inner.loss(watched, batch, step)
        known: dict[int, tuple[Any, torch.Tensor | None]] = {}
        distances = []
        for inputs, outputs, hidden in passes:
            if id(inputs) not in known:
                known[id(inputs)] = self._original(inputs)
            distances.append(self._distance(inputs, (outputs, hidden), known[id(inputs)]).mean())
        return total + self.weight * weight * torch.stack(distances).mean(), weight

    @torch.no_grad()
    def _original(self, inputs: dict[str, torch.Tensor]) -> tuple[Any, torch.Tensor | None]:
        with catching(self.teacher) as caught, autocast(self.device, self.precision):
            outputs = self.teacher(**inputs)
        return outputs, caught.hidden

    def _distance(
        self,
        inputs: dict[str, torch.Tensor],
        student: tuple[Any, torch.Tensor | None],
        teacher: tuple[Any, torch.Tensor | None],
    ) -> torch.Tensor:
        """Distance of each row, `[batch]`, from the outputs and hidden states of both models."""
        if self.target == "logits":
            return logit_distance(student[0].logits, teacher[0].logits, self.temperature)
        if student[1] is None or teacher[1] is None:
            raise ValueError("the forward pass went by the base model, whose hidden states are compared")
        return representation_distance(
            student[1], teacher[1], inputs.get("attention_mask"), target=self.target, distance=self.distance
        )
