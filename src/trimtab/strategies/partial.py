"""Train a part of the model: the head, the last blocks, or parameters by name. The rest is frozen."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field, model_validator

from trimtab.config.plugins import PluginOptions
from trimtab.core.errors import RecipeError
from trimtab.core.registry import STRATEGIES
from trimtab.strategies.base import HEAD_RATE, ParameterGroup, Strategy, TrainingPlan, full_learning_rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from trimtab.models.blocks import Blocks


class PartialOptions(PluginOptions):
    """Options of `partial`."""

    last_blocks: int = Field(
        0, ge=0, description="Number of last blocks that train besides the head; 0 trains the head only."
    )
    patterns: list[str] = Field(
        default_factory=list,
        description="Names of further parameters or modules that train, as shell patterns, for example "
        "`*.LayerNorm.*` or `embeddings`.",
    )
    train_head: bool = Field(True, description="Whether the head trains; only with `last_blocks` or `patterns`.")

    @model_validator(mode="after")
    def _something_trains(self) -> PartialOptions:
        if not self.train_head and not self.last_blocks and not self.patterns:
            raise ValueError("nothing would train: give last_blocks or patterns, or leave train_head on")
        return self


@STRATEGIES.register("partial")
class Partial(Strategy):
    """Train the head, the last blocks, or parameters by name; freeze the rest."""

    Options: ClassVar[type[PluginOptions]] = PartialOptions

    def plan(
        self, blocks: Blocks, learning_rate: float, scores: Mapping[str, torch.Tensor] | None = None
    ) -> TrainingPlan:
        """One group for the head and one for all else that trains, both at `learning_rate`.

        Raises:
            RecipeError: more blocks than the model has, layers that share their weights, or a pattern without a match.
        """
        options = cast(PartialOptions, self.options)
        groups: list[ParameterGroup] = []
        head = blocks.head.parameters if options.train_head else ()
        if head:
            groups.append(ParameterGroup("head", head, learning_rate))
        chosen = {*_last_blocks(blocks, options.last_blocks), *_matches(blocks, options.patterns)} - set(head)
        ordered = tuple(name for block in blocks.blocks for name in block.parameters if name in chosen)
        if ordered:
            groups.append(ParameterGroup("chosen", ordered, learning_rate))
        return TrainingPlan(groups=tuple(groups))

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """1e-3 for a head alone; that of full fine-tuning once pretrained weights train."""
        options = cast(PartialOptions, self.options)
        if not options.last_blocks and not options.patterns:
            return HEAD_RATE, "a new head alone"
        return full_learning_rate(hidden_size)


def _last_blocks(blocks: Blocks, count: int) -> list[str]:
    if not count:
        return []
    if blocks.shared_layers:
        raise RecipeError(
            f"strategy.last_blocks: the {blocks.shared_layers} layers of {blocks.architecture} share one set of "
            f"weights, so that the last {count} cannot train alone.",
            remedy="Use --strategy full, or strategy.last_blocks=0 for the head only.",
        )
    if count > len(blocks.body):
        raise RecipeError(
            f"strategy.last_blocks: {count} asked for, but the model has {len(blocks.body)} blocks.",
            remedy=f"Give a number from 0 to {len(blocks.body)}, or use --strategy full.",
        )
    return [name for block in blocks.body[-count:] for name in block.parameters]


def _matches(blocks: Blocks, patterns: list[str]) -> list[str]:
    names = [name for block in blocks.blocks for name in block.parameters]
    found: list[str] = []
    for pattern in patterns:
        hits = [name for name in names if _matches_one(name, pattern)]
        if not hits:
            raise RecipeError(
                f"strategy.patterns: {pattern!r} matches no parameter of the model.",
                remedy=f"Parameter names look like: {', '.join(names[:2])}, …, {names[-1]}.",
            )
        found.extend(hits)
    return found


def _matches_one(name: str, pattern: str) -> bool:
    """A shell pattern over the whole name, or a run of its dotted parts."""
    return fnmatch.fnmatchcase(name, pattern) or f".{pattern}." in f".{name}."
