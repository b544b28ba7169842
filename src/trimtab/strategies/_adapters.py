"""What all strategies share that put adapters into the layers of a frozen model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field

from trimtab.config.plugins import PluginOptions
from trimtab.core.errors import RecipeError
from trimtab.core.hooks import StepHook
from trimtab.models.adapter_targets import (
    KIND_NAMES,
    Kind,
    Layer,
    find_layers,
    select_layers,
    short_names,
    some,
)
from trimtab.strategies import _peft
from trimtab.strategies._peft import load_adapter
from trimtab.strategies.base import ParameterGroup, Strategy, TrainingPlan, full_learning_rate

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trimtab.models.blocks import Blocks

__all__ = ["AdapterOptions", "AdapterStrategy", "BiasOptions", "adapter_learning_rate", "count", "load_adapter"]

# "LoRA Without Regret" (Schulman et al. 2025, thinkingmachines.ai/blog/lora): the best rate of LoRA is ten times that
# of full fine-tuning, whatever the model and the rank.
LORA_FACTOR = 10
# Vectors that only scale need larger steps than matrices.
VECTOR_FACTOR = 100


class AdapterOptions(PluginOptions):
    """Options of every strategy that adapts layers."""

    targets: list[str] = Field(
        default_factory=lambda: ["all"],
        min_length=1,
        description="Layers that get adapters: `all` (whatever the method can adapt between embeddings and head), "
        "`attention`, names such as `query` or `output.dense`, or shell patterns over whole names such as "
        "`*.layer.0.*.query`.",
    )
    last_blocks: int = Field(
        0, ge=0, description="Number of last blocks that get adapters; 0 puts them into every block."
    )
    head_factor: float = Field(
        1.0, gt=0, description="Learning rate of the head, as a multiple of the adapters' learning rate."
    )


class BiasOptions(AdapterOptions):
    """Options where biases can train beside adapters."""

    bias: Literal["none", "adapted", "all"] = Field(
        "none",
        description="Which biases of the model train too: `none`, those of the `adapted` layers, or `all`.",
    )


@dataclass(frozen=True)
class Adapted:
    """What `adapt` did to a model.

    Args:
        config: of `peft`.
        layers: those that got adapters.
        left_out: those that were asked for, and that the method cannot adapt.
        head: names of the head's modules.
    """

    config: Any
    layers: tuple[Layer, ...]
    left_out: tuple[Layer, ...]
    head: tuple[str, ...]


class AdapterStrategy(Strategy):
    """Adapters in the layers of a frozen model, and the head, train.

    A subclass gives the configuration of `peft`, and says what kinds of layers the method can adapt.
    """

    title: ClassVar[str]
    """The method's name, as a sentence begins with it."""
    kinds: ClassVar[frozenset[Kind]]
    """The kinds of layers that the method can adapt."""
    parts: ClassVar[tuple[str, ...]]
    """The parts of an adapted layer whose parameters train."""
    unsupported: ClassVar[frozenset[str]] = frozenset()
    """Architectures, of those known by name, in which the method finds no layer that it can adapt."""

    def __init__(self, options: PluginOptions) -> None:
        super().__init__(options)
        self._adapted: Adapted | None = None
        self._hooks: tuple[StepHook, ...] = ()

    @abstractmethod
    def config(self, layers: tuple[Layer, ...]) -> Any:
        """The configuration of `peft` that adapts these layers."""

    @property
    def adaptable(self) -> frozenset[Kind]:
        """The kinds of layers that the method can adapt with these options."""
        return self.kinds

    def choose(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """The layers that the options ask for, of those in the blocks; by default those that `targets` names."""
        return select_layers(layers, cast(AdapterOptions, self.options).targets)

    def step_hooks(self, model: nn.Module) -> tuple[StepHook, ...]:
        """What the method needs done in every step; nothing by default."""
        return ()

    def extra_tensors(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Tensors that belong into the adapter's file beside its parameters; none by default."""
        return {}

    def saved_config(self, config: Any) -> Any:
        """The configuration to be written; that of training by default."""
        return config

    def adapt(self, model: nn.Module, blocks: Blocks) -> tuple[nn.Module, Blocks]:
        """Put adapters into the chosen layers; the same model object, with the depth map that holds them.

        Raises:
            RecipeError: no layer matches, the method cannot adapt those that do, or the model has adapters already.
            MissingDependencyError: `peft` is not installed.
        """
        _peft.refuse_adapted(model)
        options = cast(AdapterOptions, self.options)
        asked = self.choose(find_layers(model, blocks, options.last_blocks))
        layers = tuple(layer for layer in asked if layer.kind in self.adaptable)
        if not layers:
            raise self._nothing_to_adapt(blocks, asked)
        head = _peft.head_modules(model, blocks)
        with _peft.quiet():
            config = self.config(layers)
        model = _peft.inject(model, config)
        left_out = tuple(layer for layer in asked if layer not in layers)
        self._adapted = Adapted(config, layers, left_out, head)
        self._hooks = self.step_hooks(model)
        return model, _peft.follow_blocks(model, blocks)

    def plan(
        self, blocks: Blocks, learning_rate: float, scores: Mapping[str, torch.Tensor] | None = None
    ) -> TrainingPlan:
        """Groups `adapters`, `biases` where they train too, and `head`; all else is frozen.

        Raises:
            RecipeError: biases are to train, and there are none.
            ValueError: `adapt` was not called before.
        """
        adapted = self._require_adapted()
        adapters = tuple(name for block in blocks.body for name in block.parameters if self.is_adapter(name))
        # Scales and singular values that peft stores as matrices of one row or column.
        vectors = frozenset(name for name in adapters if any(part in name for part in ("ia3_l", "lora_E")))
        groups = [ParameterGroup("adapters", adapters, learning_rate, vectors)]
        biases = self._biases(blocks, adapted)
        if biases:
            groups.append(ParameterGroup("biases", biases, learning_rate))
        factor = cast(AdapterOptions, self.options).head_factor
        groups.append(ParameterGroup("head", blocks.head.parameters, factor * learning_rate))
        return TrainingPlan(groups=tuple(groups), notes=self._notes(groups, adapted, blocks.sizes), hooks=self._hooks)

    def merged(self, model: nn.Module) -> nn.Module | None:
        """A copy of the model with its adapters merged into the weights; a plain model of transformers."""
        return _peft.merged_copy(model)

    def save_adapter(self, model: nn.Module, folder: Path) -> None:
        """Write a folder that `peft.PeftModel.from_pretrained(base model, folder)` loads, the head included.

        Raises:
            OSError: the folder cannot be written.
        """
        adapted = self._require_adapted()
        _peft.write_adapter(
            folder,
            model=model,
            config=self.saved_config(adapted.config),
            head=adapted.head,
            adapter=_peft.adapter_tensors(model) | self.extra_tensors(model),
            prefix="base_model.model.",
        )

    def is_adapter(self, name: str) -> bool:
        """Whether a parameter is part of an adapter and trains."""
        return not set(self.parts).isdisjoint(name.split("."))

    def _require_adapted(self) -> Adapted:
        if self._adapted is None:
            raise ValueError("adapt was not called before")
        return self._adapted

    def _nothing_to_adapt(self, blocks: Blocks, asked: tuple[Layer, ...]) -> RecipeError:
        able = " and ".join(KIND_NAMES[kind] for kind in KIND_NAMES if kind in self.adaptable)
        found = " and ".join(KIND_NAMES[kind] for kind in KIND_NAMES if kind in {layer.kind for layer in asked})
        return RecipeError(
            f"{self.title} adapts {able}; of {blocks.architecture} it was given {found or 'no layer'}"
            + (f" ({some(short_names(asked))})." if asked else "."),
            remedy="Name other layers in strategy.targets, or use --strategy lora or adalora, which adapt linear "
            "layers and ungrouped convolutions alike, or partial.",
        )

    def _biases(self, blocks: Blocks, adapted: Adapted) -> tuple[str, ...]:
        wanted = getattr(self.options, "bias", "none")
        if wanted == "none":
            return ()
        of_layers = {f"{layer.name}.base_layer.bias" for layer in adapted.layers}
        biases = tuple(
            name
            for block in blocks.blocks[:-1]
            for name in block.parameters
            if (name in of_layers if wanted == "adapted" else name.endswith(".bias") and not self.is_adapter(name))
        )
        if not biases:
            raise RecipeError(
                f"strategy.bias: {wanted!r} asked for, but "
                + ("the adapted layers have" if wanted == "adapted" else f"{blocks.architecture} has")
                + " no biases.",
                remedy="Use strategy.bias=none.",
            )
        return biases

    def _notes(self, groups: list[ParameterGroup], adapted: Adapted, elements: Mapping[str, int]) -> tuple[str, ...]:
        layers = adapted.layers
        blocks = len({layer.block for layer in layers})
        notes = [
            f"{self.title} stands in {count(len(layers), 'layer')} of {count(blocks, 'block')}: "
            f"{some(short_names(layers))}."
        ]
        if adapted.left_out:
            kinds = " and ".join(KIND_NAMES[kind] for kind in KIND_NAMES if kind in {k.kind for k in adapted.left_out})
            notes.append(
                f"{count(len(adapted.left_out), 'layer')} without, as {self.title} cannot adapt {kinds}: "
                f"{some(short_names(adapted.left_out))}."
            )
        sizes = {group.name: sum(elements[name] for name in group.parameters) for group in groups}
        shares = ", ".join(f"{size:,} in {name}" for name, size in sizes.items())
        notes.append(f"Of {sum(elements.values()):,} parameters, {sum(sizes.values()):,} train: {shares}.")
        return tuple(notes)


def adapter_learning_rate(hidden_size: int, factor: float) -> tuple[float, str]:
    """A multiple of the rate for full fine-tuning, and the reason."""
    rate, _ = full_learning_rate(hidden_size)
    return rate * factor, f"adapters, {factor:g} times the rate of full fine-tuning"


def count(number: int, noun: str) -> str:
    """`1 layer`, `2 layers`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def peft_bias(bias: str, method: str) -> str:
    """The name by which `peft` knows which biases train."""
    return f"{method}_only" if bias == "adapted" else bias


def refuse_idle_rank(key: str, rank: int, layers: tuple[Layer, ...]) -> None:
    """Refuse a rank that no layer has: the update would take more parameters than the weights, and say no more.

    Raises:
        RecipeError: with the largest rank that says anything.
    """
    most = max(min(layer.inputs, layer.outputs) for layer in layers)
    if rank > most:
        raise RecipeError(
            f"strategy.{key}: {rank} is above the rank of every layer that is adapted; the largest is {most}.",
            remedy=f"Give a number from 1 to {most}, such as 8, or use --strategy full.",
        )
