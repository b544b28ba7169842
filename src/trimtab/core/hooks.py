"""What may take part in every optimizer step beside the loss: penalties, masks, moving averages of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch


class StepHook:
    """Takes part in each optimizer step. The loop calls the hooks in their order; each does nothing by default.

    A hook may keep tensors of its own. They are part of every checkpoint, so that a resumed run has them back bit for
    bit; what it draws at random comes from a stream of the seed and the step's number, for the same reason.

    Args:
        name: names its values in the record and its tensors in a checkpoint; unique among the hooks of a run.

    Attributes:
        watches_only: whether it leaves gradients and weights alone, so that it does not matter how they are laid out.
    """

    watches_only: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        self.name = name

    def begin(self, total_steps: int) -> None:
        """Called once before the first step of a session, after `load_tensors` where the run is resumed.

        Args:
            total_steps: optimizer steps of the whole run.
        """

    def enter_stage(self, stage: int) -> None:
        """Called when a stage of the plan begins, and when a run is resumed in it; never where the plan has no stages.

        Args:
            stage: its number, from 0.
        """

    def after_backward(self, step: int) -> dict[str, float]:
        """Called with the step's mean gradients in `.grad`, over all processes, before they are clipped.

        May change gradients in place. A parameter that no loss reached has no gradient.

        Args:
            step: number of the step about to be taken, from 1.

        Returns:
            Values for the step's record, such as that of a penalty.
        """
        return {}

    def before_update(self, step: int) -> None:
        """Called right before the optimizer moves the weights; not for a step that is skipped."""

    def after_update(self, step: int) -> None:
        """Called right after the optimizer moved the weights; not for a step that is skipped."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint must hold of this hook; the tensors are not copied."""
        return {}

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `tensors` gave to a checkpoint.

        Raises:
            KeyError: a tensor is missing.
        """
