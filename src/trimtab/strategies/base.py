"""What a strategy gives: the parameters that train, in groups with their learning rates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from trimtab.config.plugins import PluginOptions
from trimtab.core.hooks import StepHook

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trimtab.models.blocks import Blocks

# Below this width, models want larger steps (docs/experiments.md, "Default learning rate").
NARROW_HIDDEN_SIZE = 512
NARROW_RATE = CONVOLUTIONAL_RATE = 2e-4
CUSTOMARY_RATE = 5e-5
# A new head alone takes large steps.
HEAD_RATE = 1e-3

StageUnit = Literal["share", "epochs", "steps", "plateau"]


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate.

    Args:
        name: shown in the record of the run.
        parameters: full names of parameters.
        learning_rate: peak rate; every schedule scales it.
        undecayed: those of the parameters that weight decay leaves alone, beside biases, norms and all other vectors.
    """

    name: str
    parameters: tuple[str, ...]
    learning_rate: float
    undecayed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Stage:
    """A stretch of the run in which certain groups train and all others are frozen.

    Args:
        name: shown in the record of the run.
        groups: names of the groups that train.
        length: `2` with `epochs` or `steps`; `0.1` with `share` (of the run); with `plateau`, the evaluations without
            a better value after which the stage ends. None for the last stage, which goes on to the end of the run.
        unit: what `length` counts.
        rates: peak rate, in this stage, of groups that take another than their own.
    """

    name: str
    groups: tuple[str, ...]
    length: float | None = None
    unit: StageUnit = "epochs"
    rates: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingPlan:
    """Which parameters train, when, and at which rate; all others are frozen.

    Args:
        groups: disjoint groups, the head's included.
        notes: what the user should know of the choice, as sentences.
        stages: in order; empty where every group trains from the first step to the last.
        restart_schedule: whether the learning-rate schedule starts anew with each stage.
        masks: parameter name -> which of its elements train, boolean of the parameter's shape; a parameter that is not
            named trains whole.
        hooks: what the strategy needs done in every step.
    """

    groups: tuple[ParameterGroup, ...]
    notes: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()
    restart_schedule: bool = False
    masks: Mapping[str, torch.Tensor] = field(default_factory=dict, compare=False)
    hooks: tuple[StepHook, ...] = field(default=(), compare=False)

    @property
    def trained(self) -> frozenset[str]:
        """Names of all parameters that train at some time."""
        return frozenset(name for group in self.groups for name in group.parameters)

    def trained_in(self, stage: int) -> frozenset[str]:
        """Names of the parameters that train in a stage, counted from 0."""
        if not self.stages:
            return self.trained
        names = set(self.stages[stage].groups)
        return frozenset(name for group in self.groups if group.name in names for name in group.parameters)


@dataclass(frozen=True)
class ScoreRequest:
    """Scores of parameters that a strategy wants measured on training rows before it plans.

    Args:
        measure: `fisher` (mean squared gradient of single rows), `gradient_weight` (|mean gradient × weight|), or
            `movement` (−mean gradient × weight, larger where the loss drives the weight away from zero; Sanh et al.
            2020, arXiv 2005.07683).
        rows: training rows, drawn at random by class.
        per_element: a score for each element, of the parameter's shape; else one number a parameter, the mean.
    """

    measure: Literal["fisher", "gradient_weight", "movement"]
    rows: int
    per_element: bool


class Strategy(ABC):
    """A way to fine-tune. Subclasses live one a file and register by name.

    Args:
        options: the strategy's own part of the recipe.
    """

    name: ClassVar[str]
    Options: ClassVar[type[PluginOptions]]
    # Whether another strategy is put in this one's place before training.
    stands_for_another: ClassVar[bool] = False
    # Architectures, of those known by name, that the strategy refuses.
    unsupported: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, options: PluginOptions) -> None:
        self.options = options

    @property
    def extra_tokens(self) -> int:
        """Positions of the model that what the strategy adds takes from the text; none by default."""
        return 0

    def adapt(self, model: nn.Module, blocks: Blocks) -> tuple[nn.Module, Blocks]:
        """Change the model before training, as by adding adapters; the model and its depth map, as they are by default.

        Parameters that are added draw from torch's global random stream, which is seeded before.

        Raises:
            RecipeError: the options do not fit this model.
        """
        return model, blocks

    def scores_wanted(self) -> ScoreRequest | None:
        """The scores that `plan` needs, measured on the adapted model; None, as by default, for none."""
        return None

    @abstractmethod
    def plan(
        self, blocks: Blocks, learning_rate: float, scores: Mapping[str, torch.Tensor] | None = None
    ) -> TrainingPlan:
        """Choose what trains, from the depth map of the (adapted) model.

        Args:
            blocks: the depth map.
            learning_rate: base rate.
            scores: parameter name -> scores, where `scores_wanted` asked for them.

        Raises:
            RecipeError: the options do not fit this model.
        """

    @abstractmethod
    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """The rate for `optimizer.learning_rate: auto`, and the reason in a few words."""

    def merged(self, model: nn.Module) -> nn.Module | None:
        """A plain transformers model that computes what `model` does, to be delivered.

        By default the model itself. Where `adapt` changed it: a copy with the adapters merged into the weights, or None
        where they cannot be merged and have to be delivered beside the base model.
        """
        return model

    def save_adapter(self, model: nn.Module, folder: Path) -> None:  # noqa: B027 (most strategies add nothing)
        """Write what `adapt` added, with the trained head, into `folder`; nothing by default.

        Raises:
            OSError: the folder cannot be written.
        """


def full_learning_rate(hidden_size: int) -> tuple[float, str]:
    """The customary rate for training pretrained blocks, by the model's width, and the reason."""
    if not hidden_size:
        return CONVOLUTIONAL_RATE, "pretrained blocks of a convolutional network"
    if hidden_size <= NARROW_HIDDEN_SIZE:
        return NARROW_RATE, f"pretrained blocks of a narrow model ({hidden_size} units)"
    return CUSTOMARY_RATE, "pretrained blocks"


def apply_plan(model: nn.Module, plan: TrainingPlan, stage: int = 0) -> None:
    """Let what trains in a stage train, and freeze all else: no gradient, hence no optimizer state."""
    trained = plan.trained_in(stage)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)


def frozen_modules(model: nn.Module, blocks: Blocks, plan: TrainingPlan, stage: int = 0) -> tuple[nn.Module, ...]:
    """What `apply_plan` froze: the modules of a block in which nothing trains, and those whose every weight is frozen.

    The blocks tell which dropout belongs to a frozen part though it stands beside it (that after GPT-2's embeddings).
    """
    trained = plan.trained_in(stage)
    still = [block for block in blocks.blocks if block.parameters and trained.isdisjoint(block.parameters)]
    found = [model.get_submodule(name) for block in still for name in block.modules]
    owners = dict(model.named_parameters())
    names = {id(parameter): name for name, parameter in owners.items()}
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(names[id(parameter)] in trained for parameter in parameters):
            found.append(module)
    return tuple(found)


def train_mode(model: nn.Module, frozen: Iterable[nn.Module]) -> None:
    """Put the model into training mode, and what is frozen into evaluation mode with all that it holds.

    There dropout draws nothing and batch-norm statistics stay as they were.
    """
    model.train()
    for module in frozen:
        module.eval()
