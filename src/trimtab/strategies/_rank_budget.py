"""AdaLoRA's budget of ranks: which singular values of which layers stay, decided while training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.core.hooks import StepHook

if TYPE_CHECKING:
    import torch
    from torch import nn

# Of the smoothing of sensitivity and of its uncertainty (section 4 of the paper).
BETA1 = BETA2 = 0.85


@dataclass(frozen=True)
class Triplets:
    """The update of one layer, P · Λ · Q: `r` singular values with their singular vectors.

    Args:
        left: P, `[outputs, r]`.
        values: the diagonal of Λ, `[r, 1]`.
        right: Q, `[r, inputs]`.
    """

    left: nn.Parameter
    values: nn.Parameter
    right: nn.Parameter

    def named(self) -> dict[str, nn.Parameter]:
        """The three by name."""
        return {"left": self.left, "values": self.values, "right": self.right}


@dataclass(frozen=True)
class BudgetSchedule:
    """How many singular values all layers may have together (equation 12 of the paper).

    Args:
        initial: at the start.
        target: at the end.
        warmup_steps: with the initial budget.
        final_steps: with the target, and with the choice that was made before them.
        total_steps: of the whole run.
        interval: steps from one choice to the next.
    """

    initial: int
    target: int
    warmup_steps: int
    final_steps: int
    total_steps: int
    interval: int

    @property
    def last_choice(self) -> int:
        """The step in which the final choice is made."""
        return self.total_steps - self.final_steps

    def budget(self, step: int) -> int:
        """The budget of a step, from 1; it falls with the cube of what is left of the way."""
        if step <= self.warmup_steps:
            return self.initial
        if step >= self.last_choice:
            return self.target
        left = 1 - (step - self.warmup_steps) / (self.last_choice - self.warmup_steps)
        return int(self.target + (self.initial - self.target) * left**3)

    def chooses(self, step: int) -> bool:
        """Whether the singular values that stay are chosen anew after this step."""
        due = self.warmup_steps < step <= self.last_choice and step % self.interval == 0
        return due or step == self.last_choice


class RankBudget(StepHook):
    """Keeps the most important singular values of all layers, and the singular vectors near to orthogonal.

    Zhang et al. 2023, "AdaLoRA", arXiv 2303.10512. The importance of a triplet is the score of its singular value plus
    the mean scores of its two vectors; the score of a weight is its smoothed sensitivity |weight × gradient| times the
    smoothed uncertainty of that (equations 7 to 11). What is not kept is set to zero, and may come back until the
    final choice.

    Args:
        layers: name -> triplets.
        target_rank: mean rank of a layer at the end.
        warmup_share: share of the run with the full rank.
        final_share: share of the run with the final choice.
        interval: steps from one choice to the next.
        orthogonality: weight γ of the penalty on PᵀP − I and QQᵀ − I (equation 4); the mean of their Frobenius norms.
    """

    def __init__(
        self,
        layers: Mapping[str, Triplets],
        *,
        target_rank: int,
        warmup_share: float,
        final_share: float,
        interval: int,
        orthogonality: float,
    ) -> None:
        super().__init__("adalora")
        self.layers = dict(layers)
        self.target_rank = target_rank
        self.warmup_share = warmup_share
        self.final_share = final_share
        self.interval = interval
        self.orthogonality = orthogonality
        self.schedule: BudgetSchedule | None = None
        self._state: dict[str, torch.Tensor] = {}

    def begin(self, total_steps: int) -> None:
        """Lay the schedule over the run, and start from zero sensitivity where nothing was loaded."""
        import torch

        self.schedule = BudgetSchedule(
            initial=sum(layer.values.shape[0] for layer in self.layers.values()),
            target=self.target_rank * len(self.layers),
            warmup_steps=int(self.warmup_share * total_steps),
            final_steps=int(self.final_share * total_steps),
            total_steps=total_steps,
            interval=self.interval,
        )
        fresh: dict[str, torch.Tensor] = {}
        for name, parameter in self._parameters().items():
            fresh[f"{name}.sensitivity"] = torch.zeros_like(parameter)
            fresh[f"{name}.uncertainty"] = torch.zeros_like(parameter)
        for name, layer in self.layers.items():
            fresh[f"{name}.kept"] = torch.ones_like(layer.values, dtype=torch.bool)
        self._state = {key: self._state.get(key, tensor).to(tensor.device) for key, tensor in fresh.items()}

    def after_backward(self, step: int) -> dict[str, float]:
        """Add the gradient of the orthogonality penalty; its value and the budget go into the record."""
        return {"adalora_orthogonality": self._add_penalty(), "adalora_budget": float(self._scheduled().budget(step))}

    def before_update(self, step: int) -> None:
        """Take the sensitivity of the weights from the gradients with which they are about to move."""
        if step > self._scheduled().last_choice:
            return
        for name, parameter in self._parameters().items():
            if parameter.grad is None:
                continue
            sensitivity, uncertainty = self._state[f"{name}.sensitivity"], self._state[f"{name}.uncertainty"]
            now = (parameter.detach() * parameter.grad).abs()
            sensitivity.mul_(BETA1).add_(now, alpha=1 - BETA1)
            uncertainty.mul_(BETA2).add_((now - sensitivity).abs(), alpha=1 - BETA2)

    def after_update(self, step: int) -> None:
        """Choose the singular values that stay, where it is time for it, and set the others to zero."""
        import torch

        schedule = self._scheduled()
        if schedule.chooses(step):
            self._choose(schedule.budget(step))
        elif step < schedule.last_choice:
            return
        with torch.no_grad():
            for name, layer in self.layers.items():
                layer.values.masked_fill_(~self._state[f"{name}.kept"], 0.0)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Sensitivity and uncertainty of every weight, and which singular values are kept."""
        return dict(self._state)

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take them back.

        Raises:
            KeyError: one is missing.
        """
        names = [f"{name}.{kind}" for name in self._parameters() for kind in ("sensitivity", "uncertainty")]
        names += [f"{name}.kept" for name in self.layers]
        self._state = {name: tensors[name].clone() for name in names}

    def ranks(self) -> dict[str, int]:
        """Layer -> number of its singular values that are not zero."""
        return {name: int((layer.values != 0).sum()) for name, layer in self.layers.items()}

    def _parameters(self) -> dict[str, nn.Parameter]:
        return {f"{name}.{part}": value for name, layer in self.layers.items() for part, value in layer.named().items()}

    def _scheduled(self) -> BudgetSchedule:
        if self.schedule is None:
            raise ValueError("begin was not called before")
        return self.schedule

    def _add_penalty(self) -> float:
        """The mean over all P and Q of ‖M − I‖, with M = PᵀP or QQᵀ; its gradient by Q is 2 (M − I) Q / ‖M − I‖."""
        import torch

        norms = []
        weight = self.orthogonality / (2 * len(self.layers))
        with torch.no_grad():
            for layer in self.layers.values():
                for parameter, rows in ((layer.left, layer.left.T), (layer.right, layer.right)):
                    error = rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
                    norm = error.norm()
                    norms.append(norm)
                    gradient = 2 * weight * (error @ rows) / norm.clamp_min(torch.finfo(rows.dtype).tiny)
                    gradient = gradient.T if parameter is layer.left else gradient
                    parameter.grad = gradient.contiguous() if parameter.grad is None else parameter.grad.add_(gradient)
            return float(torch.stack(norms).mean())

    def _choose(self, budget: int) -> None:
        """Keep the `budget` most important of all singular values; the first of equals."""
        import torch

        scores = torch.cat([self._importance(name) for name in self.layers])
        kept = torch.zeros_like(scores, dtype=torch.bool)
        kept[torch.sort(scores, descending=True, stable=True).indices[:budget]] = True
        for (name, layer), mask in zip(
            self.layers.items(), kept.split([layer.values.shape[0] for layer in self.layers.values()]), strict=True
        ):
            self._state[f"{name}.kept"] = mask.view_as(layer.values).clone()

    def _importance(self, name: str) -> torch.Tensor:
        """`[r]`, of the triplets of a layer."""
        score = {
            part: self._state[f"{name}.{part}.sensitivity"] * self._state[f"{name}.{part}.uncertainty"]
            for part in ("left", "values", "right")
        }
        return score["values"].view(-1) + score["left"].mean(dim=0) + score["right"].mean(dim=1)
