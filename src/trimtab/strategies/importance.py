"""Train only the parameters that matter most for the loss of this task; freeze the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field

from trimtab.config.plugins import PluginOptions
from trimtab.core.registry import STRATEGIES
from trimtab.strategies.base import ParameterGroup, ScoreRequest, Strategy, TrainingPlan, full_learning_rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from trimtab.models.blocks import Blocks


class ImportanceOptions(PluginOptions):
    """Options of `importance`."""

    measure: Literal["fisher", "gradient_weight", "movement"] = Field(
        "fisher",
        description="Score of a parameter on training rows: `fisher`, the mean squared gradient; `gradient_weight`, "
        "|gradient × weight|; `movement`, -gradient × weight.",
    )
    share: float = Field(
        0.2, gt=0, le=1, description="Share of the parameters below the head that train, those with the highest scores."
    )
    unit: Literal["tensor", "block", "element"] = Field(
        "tensor",
        description="What is chosen: whole tensors, whole blocks, or single elements. Elements cost as much optimizer "
        "memory as the whole tensors in which they stand.",
    )
    rows: int = Field(256, ge=1, description="Training rows that the scores are measured on.")


@STRATEGIES.register("importance")
class Importance(Strategy):
    """Train the head and the top share of all else by a score (with Fisher: Sung et al. 2021, arXiv 2111.09839)."""

    Options: ClassVar[type[PluginOptions]] = ImportanceOptions

    def scores_wanted(self) -> ScoreRequest:
        """Scores of single elements, or their mean over each tensor."""
        options = cast(ImportanceOptions, self.options)
        return ScoreRequest(options.measure, options.rows, per_element=options.unit == "element")

    def plan(
        self, blocks: Blocks, learning_rate: float, scores: Mapping[str, torch.Tensor] | None = None
    ) -> TrainingPlan:
        """Groups `head` and `chosen`; with `unit: element`, masks of what trains in each tensor.

        Args:
            blocks: the depth map.
            learning_rate: base rate.
            scores: parameter name -> scores of its elements, of its shape, or the mean of them.

        Raises:
            ValueError: there are no scores.
        """
        if scores is None:
            raise ValueError("importance plans from scores, and none were measured")
        options = cast(ImportanceOptions, self.options)
        names = tuple(name for block in blocks.blocks[:-1] for name in block.parameters)
        masks: dict[str, torch.Tensor] = {}
        if options.unit == "element":
            masks = _top_elements({name: scores[name] for name in names}, options.share)
            chosen = {name for name, mask in masks.items() if bool(mask.any())}
            masks = {name: mask for name, mask in masks.items() if name in chosen and not bool(mask.all())}
        elif options.unit == "tensor":
            chosen = _top_units([(name,) for name in names], scores, blocks.sizes, options.share)
        else:
            chosen = _top_units([block.parameters for block in blocks.blocks[:-1]], scores, blocks.sizes, options.share)
        ordered = tuple(name for name in names if name in chosen)
        return TrainingPlan(
            groups=(
                ParameterGroup("head", blocks.head.parameters, learning_rate),
                *((ParameterGroup("chosen", ordered, learning_rate),) if ordered else ()),
            ),
            masks=masks,
            notes=(
                f"By {options.measure} on at most {options.rows} training rows, {len(ordered)} of {len(names)} tensors "
                f"below the head train{' in part' if masks else ''}.",
            ),
        )

    def default_learning_rate(self, hidden_size: int) -> tuple[float, str]:
        """That of full fine-tuning."""
        return full_learning_rate(hidden_size)


def _top_units(
    units: list[tuple[str, ...]], scores: Mapping[str, torch.Tensor], sizes: Mapping[str, int], share: float
) -> set[str]:
    """Parameters of the units with the highest mean score, as long as they fit in `share` of all elements.

    The unit with the highest score always trains, whatever its size; one that does not fit is passed over.
    """
    filled = [unit for unit in units if unit]

    def mean_score(unit: tuple[str, ...]) -> float:
        return sum(float(scores[name]) * sizes[name] for name in unit) / sum(sizes[name] for name in unit)

    room = share * sum(sizes[name] for unit in filled for name in unit)
    chosen: set[str] = set()
    taken = 0
    for unit in sorted(filled, key=mean_score, reverse=True):
        size = sum(sizes[name] for name in unit)
        if chosen and taken + size > room:
            continue
        chosen.update(unit)
        taken += size
    return chosen


def _top_elements(scores: Mapping[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """Masks of the elements whose score is among the top `share` of all; ties at the border all train."""
    import torch

    flat = torch.cat([score.flatten() for score in scores.values()])
    count = max(1, round(share * flat.numel()))
    border = torch.topk(flat, count, sorted=True).values[-1]
    return {name: score >= border for name, score in scores.items()}
