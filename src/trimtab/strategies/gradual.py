"""Layer-wise unfreezing: the head first, then one block after the other, in stages."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, cast

from pydantic import Field, model_validator

from trimtab.config.plugins import PluginOptions
from trimtab.core.errors import RecipeError
from trimtab.core.registry import STRATEGIES
from trimtab.strategies._depth import depth_groups, refuse_shared_layers
from trimtab.strategies.base import ParameterGroup, Stage, StageUnit, Strategy, TrainingPlan, full_learning_rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from trimtab.models.blocks import Blocks

# By `auto`, all blocks train from the middle of the run on.
SHARE_OF_STAGES = 0.5


class GradualOptions(PluginOptions):
    """Options of `gradual`."""

    direction: Literal["head_first", "embeddings_first"] = Field(
        "head_first",
        description="`head_first` unfreezes from the head down to the embeddings; `embeddings_first` from the "
        "embeddings up, with the head training all the time.",
    )
    blocks_per_stage: int = Field(1, ge=1, description="Blocks that each stage unfreezes.")
    stage_length: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto",
        description="Length of every stage but the last, in `stage_unit`; `auto` unfreezes everything by the middle of "
        "the run, in equal stages.",
    )
    stage_unit: Literal["epochs", "steps", "plateau"] = Field(
        "epochs",
        description="What `stage_length` counts: `epochs`, `steps`, or with `plateau` the evaluations in a row without "
        "a better validation metric after which a stage ends.",
    )
    stages: list[list[str]] = Field(
        default_factory=list,
        description="Stages of your own in place of `direction`: what each unfreezes, as names or shell patterns of "
        "blocks, such as `[[head], [block 5, block 4], ['*']]`. What a stage unfroze goes on training.",
    )
    decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Factor of the learning rate from each block to the one below it; 1 gives all the same rate.",
    )
    restart_schedule: bool = Field(False, description="Whether the learning-rate schedule starts anew in each stage.")

    @model_validator(mode="after")
    def _unit_needs_a_length(self) -> GradualOptions:
        if self.stage_length == "auto" and self.stage_unit != "epochs":
            raise ValueError(f"stage_unit {self.stage_unit!r} needs a stage_length, such as 2")
        if self.stages and (self.direction != "head_first" or self.blocks_per_stage != 1):
            raise ValueError("stages of your own leave nothing for direction and blocks_per_stage to say")
        return self


@STRATEGIES.register("gradual")
class Gradual(Strategy):
    """Gradual unfreezing in stages (Howard & Ruder 2018, arXiv 1801.06146, section 3.3)."""

    Options: ClassVar[type[PluginOptions]] = GradualOptions
    unsupported = frozenset({"albert"})

    def plan(
        self, blocks: Blocks, learning_rate: float, scores: Mapping[str, torch.Tensor] | None = None
    ) -> TrainingPlan:
        """A group for each block, and stages in which more and more of them train.

        Raises:
            RecipeError: a stage names no block, the head never trains, or all layers share their weights.
        """
        options = cast(GradualOptions, self.options)
        groups = depth_groups(blocks, learning_rate, options.decay)
        if options.stages:
            steps = _custom_steps(options.stages, groups)
        else:
            refuse_shared_layers(blocks, "gradual")
            steps = _steps_by_depth([group.name for group in groups], options)
        stages = _stages(steps, options)
        return TrainingPlan(
            groups=tuple(group for group in groups if any(group.name in step for step in steps)),
            stages=stages,
            restart_schedule=options.restart_schedule,
            notes=(
                f"Unfreezing in {len(stages)} stage{'s' if len(stages) > 1 else ''}: "
                f"{' → '.join(stage.name for stage in stages)}.",
            ),
        )

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """That of full fine-tuning, which is what the last stage does."""
        return full_learning_rate(hidden_size)


def _steps_by_depth(names: list[str], options: GradualOptions) -> list[list[str]]:
    """What each stage unfreezes; `names` from the embeddings to the head."""
    *body, head = names
    count = options.blocks_per_stage
    if options.direction == "head_first":
        body.reverse()
        return [[head], *(body[at : at + count] for at in range(0, len(body), count))]
    first, *others = (body[at : at + count] for at in range(0, len(body), count))
    return [[head, *first], *others]


def _custom_steps(stages: list[list[str]], groups: tuple[ParameterGroup, ...]) -> list[list[str]]:
    names = [group.name for group in groups]
    steps: list[list[str]] = []
    for number, patterns in enumerate(stages, start=1):
        found: list[str] = []
        for pattern in patterns:
            hits = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
            if not hits:
                raise RecipeError(
                    f"strategy.stages: stage {number} names {pattern!r}, which is no block of the model.",
                    remedy=f"Blocks with parameters: {', '.join(names)}; `*` stands for any characters.",
                )
            found += hits
        seen = {name for step in steps for name in step}
        new = [name for name in names if name in found and name not in seen]
        if not new:
            raise RecipeError(
                f"strategy.stages: stage {number} unfreezes nothing that did not train before.",
                remedy="Leave it out, or name further blocks in it.",
            )
        steps.append(new)
    if not any("head" in step for step in steps):
        raise RecipeError(
            "strategy.stages: no stage unfreezes the head, so that a new classifier would stay random.",
            remedy="Name `head` in the first stage.",
        )
    return steps


def _stages(steps: list[list[str]], options: GradualOptions) -> tuple[Stage, ...]:
    unit: StageUnit = "share" if options.stage_length == "auto" else options.stage_unit
    length = SHARE_OF_STAGES / max(1, len(steps) - 1) if options.stage_length == "auto" else options.stage_length
    stages = []
    training: list[str] = []
    for number, step in enumerate(steps):
        training = [*training, *step]
        last = number == len(steps) - 1
        stages.append(Stage(", ".join(step), tuple(training), None if last else length, unit))
    return tuple(stages)
