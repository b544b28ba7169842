"""What a strategy gives: the parameters that train, in groups with their learning rates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from trimtab.config.plugins import PluginOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from trimtab.models.blocks import Blocks

# Below this width, models want larger steps (docs/experiments.md, "Default learning rate").
NARROW_HIDDEN_SIZE = 512
NARROW_RATE = CONVOLUTIONAL_RATE = 2e-4
CUSTOMARY_RATE = 5e-5


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate.

    Args:
        name: shown in the record of the run.
        parameters: full names of parameters.
        learning_rate: peak rate; every schedule scales it.
    """

    name: str
    parameters: tuple[str, ...]
    learning_rate: float


@dataclass(frozen=True)
class TrainingPlan:
    """Which parameters train; all others are frozen.

    Args:
        groups: disjoint groups, the head's included.
        notes: what the user should know of the choice, as sentences.
    """

    groups: tuple[ParameterGroup, ...]
    notes: tuple[str, ...] = ()

    @property
    def trained(self) -> frozenset[str]:
        """Names of all parameters that train."""
        return frozenset(name for group in self.groups for name in group.parameters)


class Strategy(ABC):
    """A way to fine-tune. Subclasses live one a file and register by name.

    Args:
        options: the strategy's own part of the recipe.
    """

    name: ClassVar[str]
    Options: ClassVar[type[PluginOptions]]

    def __init__(self, options: PluginOptions) -> None:
        self.options = options

    @abstractmethod
    def plan(self, blocks: Blocks, learning_rate: float) -> TrainingPlan:
        """Choose what trains, from the depth map of the model.

        Raises:
            RecipeError: the options do not fit this model.
        """

    @abstractmethod
    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """The rate for `optimizer.learning_rate: auto`, and the reason in a few words."""


def full_learning_rate(hidden_size: int) -> tuple[float, str]:
    """The customary rate for training pretrained blocks, by the model's width, and the reason."""
    if not hidden_size:
        return CONVOLUTIONAL_RATE, "pretrained blocks of a convolutional network"
    if hidden_size <= NARROW_HIDDEN_SIZE:
        return NARROW_RATE, f"pretrained blocks of a narrow model ({hidden_size} units)"
    return CUSTOMARY_RATE, "pretrained blocks"


def apply_plan(model: nn.Module, plan: TrainingPlan) -> None:
    """Let the plan's parameters train and freeze all others: no gradient, hence no optimizer state."""
    trained = plan.trained
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)


def frozen_modules(model: nn.Module, blocks: Blocks, plan: TrainingPlan) -> tuple[nn.Module, ...]:
    """What `apply_plan` froze: the modules of a block in which nothing trains, and those whose every weight is frozen.

    The blocks tell which dropout belongs to a frozen part though it stands beside it (that after GPT-2's embeddings).
    """
    still = [block for block in blocks.blocks if block.parameters and plan.trained.isdisjoint(block.parameters)]
    found = [model.get_submodule(name) for block in still for name in block.modules]
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            found.append(module)
    return tuple(found)


def train_mode(model: nn.Module, frozen: Iterable[nn.Module]) -> None:
    """Put the model into training mode, and what is frozen into evaluation mode with all that it holds.

    There dropout draws nothing and batch-norm statistics stay as they were.
    """
    model.train()
    for module in frozen:
        module.eval()
