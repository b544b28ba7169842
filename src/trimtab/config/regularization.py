"""The recipe's section `regularization`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from trimtab.config.section import Section

Probability = Annotated[float, Field(ge=0, lt=1)]
ClassWeight = Annotated[float, Field(gt=0)]


class RegularizationSection(Section):
    """What keeps the model from fitting its training rows too closely."""

    l1: float = Field(
        0.0,
        ge=0,
        description="L1 penalty (lasso): this × the sum of |weight| over the weight matrices that train; biases and "
        "norms are left out.",
    )
    l2: float = Field(
        0.0,
        ge=0,
        description="L2 penalty: half of this × the sum of squared weights over the weight matrices that train; biases "
        "and norms are left out. A part of the loss, unlike `optimizer.weight_decay`.",
    )
    l2_sp: float = Field(
        0.0,
        ge=0,
        description="L2-SP: half of this × the squared distance of the pretrained parameters that train from their "
        "pretrained values (Li et al. 2018, arXiv 1802.01483), biases and norms included.",
    )
    l2_sp_head: float = Field(
        0.0,
        ge=0,
        description="With `l2_sp`: half of this × the sum of squared weights over the matrices of the new head; the "
        "authors take 0.01.",
    )
    gradient_noise: float = Field(
        0.0,
        ge=0,
        description="Variance of Gaussian noise on every gradient in the first step, falling as (1 + t)^-0.55 after t "
        "steps (Neelakantan et al. 2015, arXiv 1511.06807, try 0.01, 0.3 and 1). Added after clipping.",
    )
    dropout_by_depth: list[Probability] | None = Field(
        None,
        description="Dropout probabilities from the embeddings to the head: one for the embeddings, for each block and "
        "for the head; or two numbers, for the first and the last part that trains and has dropout, the others on the "
        "line between. Takes the place of `model.dropout`.",
    )
    mixout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Mixout (Lee et al. 2020, arXiv 1909.11299): probability with which the outgoing weights of a unit "
        "count as pretrained, in the linear layers that train. The authors take 0.7 to 0.9, and no dropout beside it.",
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of each row's target that is spread evenly over all classes (Szegedy et al. 2016, arXiv "
        "1512.00567).",
    )
    class_weights: Literal["balanced", "sqrt"] | dict[str, ClassWeight] | None = Field(
        None,
        description="Weight of a row in the training loss, by its class: `balanced` (the inverse of the class's share "
        "of the rows), `sqrt` (the root of that), or a mapping label: weight, with 1 for labels not named. Scaled to a "
        "mean of 1 over the training rows.",
    )
    focal_gamma: float = Field(
        0.0,
        ge=0,
        description="Focal loss (Lin et al. 2017, arXiv 1708.02002, take 2): each row's loss × (1 - probability of its "
        "class)^this, so that easy rows count less.",
    )
    r_drop: float = Field(
        0.0,
        ge=0,
        description="R-Drop (Liang et al. 2021, arXiv 2106.14448, try 0.1 to 5): weight of the divergence between the "
        "predictions of two passes with different dropout. Each row passes twice: about twice the time and memory.",
    )
    mixup: float = Field(
        0.0,
        ge=0,
        description="Mixup of representations (Zhang et al. 2018, arXiv 1710.09412; Guo et al. 2019, arXiv "
        "1905.08941): shares are drawn from Beta(this, this). Pairs are drawn among the rows that pass the model "
        "together, see `training.max_tokens_per_batch`.",
    )
    early_stopping_patience: int | None = Field(
        None,
        ge=1,
        description="Evaluations in a row without a better value after which training ends; the best weights are "
        "delivered in any case.",
    )
    early_stopping_min_change: float = Field(
        0.0, ge=0, description="Change of the metric from which a value counts as better for early stopping."
    )

    @field_validator("dropout_by_depth", mode="before")
    @classmethod
    def _probabilities_are_numbers(cls, value: Any) -> Any:
        if isinstance(value, list) and any(isinstance(item, bool) for item in value):
            raise ValueError(f"found {value!r}; allowed: a list of numbers from 0 to below 1")
        return value

    @field_validator("dropout_by_depth")
    @classmethod
    def _at_least_two_probabilities(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and len(value) < 2:
            raise ValueError(
                f"found {len(value)} number(s); allowed: two, for the first and the last part, or one for each part "
                "(model.dropout sets the same everywhere)"
            )
        return value

    @field_validator("class_weights", mode="before")
    @classmethod
    def _labels_are_texts(cls, value: Any) -> Any:
        """A label `1` of a mapping is read from YAML as a number, and meant as the text that the data hold."""
        if not isinstance(value, dict):
            return value
        if not value:
            raise ValueError("found an empty mapping; allowed: `balanced`, `sqrt`, or label: weight")
        odd = [item for pair in value.items() for item in pair if isinstance(item, bool) or item is None]
        if odd:
            raise ValueError(
                f'found {odd[0]!r} in the mapping; allowed: label: number above 0, a label such as "true" in quotes'
            )
        return {str(label): weight for label, weight in value.items()}

    @model_validator(mode="after")
    def _fit_together(self) -> RegularizationSection:
        faults = list(self._contradictions())
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _contradictions(self) -> Iterator[str]:
        if self.r_drop and self.mixup:
            yield (
                "r_drop and mixup exclude each other (R-Drop compares two passes of the same row, mixup has no row of "
                "its own); set one of them to 0"
            )
        if self.focal_gamma and self.label_smoothing:
            yield (
                "focal_gamma and label_smoothing exclude each other (the focal loss needs one true class a row); set "
                "one of them to 0"
            )
        if self.l2 and self.l2_sp:
            yield "l2 pulls weights to zero and l2_sp to their pretrained values; set one of them to 0"
        if self.l2_sp_head and not self.l2_sp:
            yield "l2_sp_head has no effect without l2_sp; set l2_sp, or l2 for all weights"
        if self.early_stopping_min_change and self.early_stopping_patience is None:
            yield "early_stopping_min_change has no effect without early_stopping_patience; set both"
