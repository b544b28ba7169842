"""What is known of a run before its first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Facts:
    """What is known of a run before its first step. A foreign run knows little of it: then the defaults hold.

    Args:
        origin: who wrote the record: `trimtab`, `trainer_state`, `tensorboard`, `csv`, `trainer` or `lightning`.
        model: name of the pretrained model.
        strategy: what trains.
        task: registered name of the task.
        metric: name of the metric that chooses the best weights.
        higher_is_better: its direction.
        total_steps: optimizer steps that are planned; None where it is not known.
        steps_per_epoch: optimizer steps of an epoch; None where it is not known.
        num_epochs: passes over the training rows that are planned.
        warmup_steps: steps in which the rate rises.
        batch_size: rows of an optimizer step.
        max_grad_norm: norm that gradients are clipped to; None where they are not.
        learning_rate: the peak rate of the recipe.
        rows: split -> rows.
        labels: names of the classes; index = class id.
        label_counts: split -> rows of each class, in the order of `labels`.
        max_length: tokens that the model reads of a row; 0 where there is no such limit.
        parameters: elements of all parameters.
        trained_parameters: elements of those that train.
        untrained: blocks with parameters that hold no pretrained values and that do not train, e.g. `head`.
        groups: name of each parameter group -> its peak learning rate.
        device: `cpu`, `cuda`, `mps`.
        recipe: the resolved recipe, dotted key -> value.
        siblings: values of `metric` of other runs in the folder whose recipe differs in nothing but the seed.
    """

    origin: str = "trimtab"
    model: str = ""
    strategy: str = ""
    task: str = ""
    metric: str = ""
    higher_is_better: bool = True
    total_steps: int | None = None
    steps_per_epoch: int | None = None
    num_epochs: float | None = None
    warmup_steps: int = 0
    batch_size: int | None = None
    max_grad_norm: float | None = None
    learning_rate: float | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    label_counts: Mapping[str, list[int]] = field(default_factory=dict)
    max_length: int = 0
    parameters: int = 0
    trained_parameters: int = 0
    untrained: tuple[str, ...] = ()
    groups: Mapping[str, float] = field(default_factory=dict)
    device: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    siblings: tuple[float, ...] = ()

    @classmethod
    def from_start(cls, event: Mapping[str, Any], recipe: Mapping[str, Any]) -> Facts:
        """The facts in a `start` event; what an older version did not write takes its default.

        Args:
            event: of type `start`.
            recipe: the resolved recipe, dotted key -> value.
        """
        names = set(cls.__dataclass_fields__) - {"origin", "recipe", "siblings"}
        known = {name: event[name] for name in names if event.get(name) is not None}
        for name in ("labels", "untrained"):
            known[name] = tuple(known.get(name, ()))
        return cls(**known, recipe=dict(recipe))

    @property
    def chance(self) -> float | None:
        """Cross-entropy, in nats, of always predicting the shares of the training classes; None without counts."""
        import math

        counts = self.label_counts.get("train")
        total = sum(counts or ())
        if not counts or not total:
            return None
        return -sum(count / total * math.log(count / total) for count in counts if count)

    @property
    def majority_share(self) -> float | None:
        """Share of the most frequent class among the training rows; None without counts."""
        counts = self.label_counts.get("train")
        return max(counts) / sum(counts) if counts and sum(counts) else None
