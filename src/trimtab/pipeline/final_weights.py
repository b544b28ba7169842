"""Which weights a run delivers: of the best evaluation, of the last step, an average, or a soup."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import torch
from torch import nn

from trimtab.config.recipe import Recipe
from trimtab.core.errors import RecipeError
from trimtab.data.batching import steps_per_epoch
from trimtab.strategies.base import Strategy, TrainingPlan
from trimtab.training.averages import EMA_DECAY, SWA_START, ExponentialAverage, StochasticAverage, WeightAverage
from trimtab.training.session import Judgement

SOUP_SIZE = 5
# Shares of the fine-tuned weights that `weights.interpolation: auto` tries; 1 is fine-tuning alone.
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

Weights = dict[str, torch.Tensor]
Judge = Callable[[], Judgement]


def weight_average(recipe: Recipe, model: nn.Module, plan: TrainingPlan, rows: int) -> WeightAverage | None:
    """The average of the weights that the recipe wants kept during training, or None."""
    section, training = recipe.weights, recipe.training
    if section.source == "ema":
        return ExponentialAverage(model, plan.trained, section.ema_decay or EMA_DECAY)
    if section.source == "swa":
        epoch = steps_per_epoch(rows, training.batch_size, training.gradient_accumulation_steps)
        start = SWA_START if section.swa_start is None else section.swa_start
        return StochasticAverage(model, plan.trained, section.swa_every_steps or epoch, start)
    return None


def refuse_idle_interpolation(
    recipe: Recipe, strategy: Strategy, plan: TrainingPlan, new_parameters: Collection[str], adapters: Collection[str]
) -> None:
    """See that `weights.interpolation` has pretrained weights to mix that training moves.

    Args:
        recipe: the recipe.
        strategy: adds the adapters.
        plan: what trains.
        new_parameters: names of parameters that are not pretrained, adapters included.
        adapters: names of those that the strategy added; all but virtual tokens are merged into pretrained weights.

    Raises:
        RecipeError: every mixture would be the fine-tuned model itself.
    """
    changes = bool(adapters) or bool(plan.trained - set(new_parameters))
    if recipe.weights.interpolation is None or (changes and not strategy.extra_tokens):
        return
    raise RecipeError(
        f"weights.interpolation mixes the fine-tuned weights with the pretrained ones, and with --strategy "
        f"{strategy.name} there are none that change and can be mixed.",
        remedy="Leave out weights.interpolation, or choose a strategy that changes them, such as full or lora.",
    )


def weights_of(model: nn.Module) -> Weights:
    """A copy of every parameter and buffer."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@torch.no_grad()
def put(model: nn.Module, weights: Weights) -> None:
    """Put weights back into the model."""
    own = model.state_dict()
    for name, tensor in weights.items():
        own[name].copy_(tensor)


def mix(one: Weights, other: Weights, share: float) -> Weights:
    """`(1 - share)` of `one` and `share` of `other`; what is no floating-point number is taken from `other`.

    A tensor that `one` lacks, or has in another shape (a new head), is taken from `other` as it is.
    """
    mixed = {}
    for name, tensor in other.items():
        first = one.get(name)
        if first is None or first.shape != tensor.shape or not tensor.is_floating_point():
            mixed[name] = tensor
        else:
            mixed[name] = torch.lerp(first.to(tensor), tensor, share)
    return mixed


def greedy_soup(model: nn.Module, candidates: Iterable[Weights], judge: Judge) -> tuple[int, Judgement]:
    """Average checkpoints, the best first, keeping each that does not make the average worse.

    Wortsman et al. 2022 (arXiv 2203.05482), recipe 1. The soup is left in the model.

    Args:
        model: takes the weights.
        candidates: weights of checkpoints, the best first.
        judge: judges the model on the validation rows.

    Returns:
        Number of checkpoints in the soup, and its judgement.
    """
    soup: Weights | None = None
    best: Judgement | None = None
    count = 0
    for weights in candidates:
        trial = weights if soup is None else mix(soup, weights, 1.0 / (count + 1))
        put(model, trial)
        judgement = judge()
        if best is None or not _is_worse(judgement, best):
            soup, best, count = trial, judgement, count + 1
    if soup is None or best is None:
        raise ValueError("a soup needs at least one checkpoint")
    put(model, soup)
    return count, best


def interpolate(
    model: nn.Module, pretrained: Weights, shares: Iterable[float], judge: Judge
) -> tuple[float, Judgement, list[tuple[float, float]]]:
    """Mix the model's weights with the pretrained ones, and keep the share that does best on the validation rows.

    WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903): w = (1 - share) · pretrained + share · fine-tuned. Of equal values
    the smallest share is kept, which is nearest to the pretrained model.

    Args:
        model: holds the fine-tuned weights, and the mixture afterwards.
        pretrained: weights by the model's names; a head that is not among them stays as it was trained.
        shares: of the fine-tuned weights.
        judge: judges the model on the validation rows.

    Returns:
        The share, its judgement, and (share, value) of each that was tried.
    """
    tuned = weights_of(model)
    best: tuple[float, Judgement] | None = None
    tried = []
    for share in shares:
        put(model, mix(pretrained, tuned, share))
        judgement = judge()
        tried.append((share, judgement.value))
        if best is None or _is_better(judgement, best[1]):
            best = (share, judgement)
    if best is None:
        raise ValueError("no share to try")
    put(model, mix(pretrained, tuned, best[0]))
    return best[0], best[1], tried


def _is_better(one: Judgement, other: Judgement) -> bool:
    return one.value > other.value if one.higher_is_better else one.value < other.value


def _is_worse(one: Judgement, other: Judgement) -> bool:
    return not one.value >= other.value if one.higher_is_better else not one.value <= other.value


def soup_size(recipe: Recipe) -> int:
    """Number of the best checkpoints that the run has to keep."""
    return (recipe.weights.soup_size or SOUP_SIZE) if recipe.weights.source == "soup" else 1
