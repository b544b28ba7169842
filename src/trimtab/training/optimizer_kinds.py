"""What each optimizer is: how it is built, what it keeps of a parameter, and how its rate relates to AdamW's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch
from torch import nn

from trimtab.config.recipe import OptimizerSection
from trimtab.core.errors import RecipeError
from trimtab.training import optimizer_builders as make
from trimtab.training.optimizer_builders import Groups, State


@dataclass(frozen=True)
class OptimizerKind:
    """One optimizer.

    Args:
        build: makes it from torch's groups and the recipe; the last argument says whether all parameters lie where
            torch has fused kernels.
        fresh_state: (optimizer, number of the group, parameter) -> what it keeps of the parameter before its first
            step.
        rate_factor: its customary rate over AdamW's.
        rate_reason: why, in a few words.
        constants: state that is the same for every parameter and step, and is not saved.
        optional: state that only stands there at times.
        scalars: numbers that it keeps of each group.
        library: imports what it needs.
        devices: kinds of device that it runs on; empty for all.
    """

    build: Callable[[Groups, OptimizerSection, bool], torch.optim.Optimizer]
    fresh_state: Callable[[Any, int, nn.Parameter], State]
    rate_factor: float = 1.0
    rate_reason: str = ""
    constants: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    scalars: tuple[str, ...] = ()
    library: Callable[[], ModuleType] | None = None
    devices: frozenset[str] = frozenset()


def kind_of(optimizer: torch.optim.Optimizer) -> OptimizerKind:
    """The kind of an optimizer built by `build_optimizer`, whose groups name it."""
    return KINDS[optimizer.param_groups[0]["kind"]]


def check_optimizer(section: OptimizerSection, device: torch.device) -> None:
    """See, before anything is loaded, that the optimizer's library is there and runs on the device.

    Raises:
        MissingDependencyError: the library is not installed.
        RecipeError: the optimizer does not run on this device.
    """
    kind = KINDS[section.name]
    if kind.devices and device.type not in kind.devices:
        raise RecipeError(
            f"optimizer.name: {section.name} does not run on {device.type!r}, only on "
            f"{' and '.join(sorted(kind.devices))}.",
            remedy=f"Take optimizer.name={section.name.removesuffix('_8bit')}, or another device (--device cpu).",
        )
    if kind.library is not None:
        kind.library()


def auto_rate_factor(name: str) -> tuple[float, str]:
    """What `optimizer.learning_rate: auto` multiplies the strategy's rate by, which is meant for AdamW; and the reason.

    Adafactor without parameter scaling moves weights by about its rate, like Adam (Shazeer & Stern 2018, arXiv
    1804.04235). Lion moves every weight by its whole rate: 3 to 10 times smaller rates than AdamW's (Chen et al. 2023,
    arXiv 2302.06675). SGD does not rescale gradients, and has no customary ratio. The schedule-free variants want
    larger rates than those whose rate falls (https://github.com/facebookresearch/schedule_free: AdamW 1 to 10 times).

    Chosen with one sweep, full fine-tuning of the starter on 800 questions of TREC in 50 steps, one seed. Accuracy by
    multiples of AdamW's rate: AdamW 1: 0.90. Lion 0.2, 0.3, 0.5: 0.62, 0.71, 0.90 (the paper's range is kept to, longer
    runs do with less). SGD 150, 500, 1000: 0.63, 0.89, 0.88. Adafactor 1, 2.5: 0.93, 0.90. Schedule-free AdamW 1, 2,
    2.5, 5: 0.91, 0.90, 0.90, 0.86, with the lowest training loss at 2. Schedule-free SGD 500, 1500, 2500, 5000, 15000:
    0.26, 0.89, 0.93, 0.91, 0.19.

    Args:
        name: of the optimizer.

    Returns:
        Factor, and reason; the reason is empty for a factor of 1.
    """
    kind = KINDS[name]
    return kind.rate_factor, kind.rate_reason


_WITH_8_BITS = OptimizerKind(
    make.make_adamw_8bit,
    make.quantised_state,
    constants=frozenset({"qmap1", "qmap2"}),
    library=make.bitsandbytes,
    devices=frozenset({"cpu", "cuda"}),
)
_SCHEDULE_FREE = OptimizerKind(
    make.make_schedule_free_adamw,
    make.schedule_free_adamw_state,
    2.0,
    "twice AdamW's rate, as it does not fall",
    optional=frozenset({make.TRAINING_WEIGHTS}),
    scalars=make.SCHEDULE_FREE_SCALARS,
    library=make.schedulefree,
)
_LION = OptimizerKind(
    make.make_lion, make.lion_state, 0.3, "three tenths of AdamW's rate for Lion", library=make.pytorch_optimizer
)

KINDS: dict[str, OptimizerKind] = {
    "adamw": OptimizerKind(make.make_adamw, make.adam_state),
    "adam": OptimizerKind(make.make_adam, make.adam_state),
    "sgd": OptimizerKind(make.make_sgd, make.sgd_state, 500.0, "500 times AdamW's rate for SGD"),
    "adafactor": OptimizerKind(make.make_adafactor, make.adafactor_state),
    "lion": _LION,
    "adamw_8bit": _WITH_8_BITS,
    "lion_8bit": replace(
        _WITH_8_BITS, build=make.make_lion_8bit, rate_factor=_LION.rate_factor, rate_reason=_LION.rate_reason
    ),
    "schedule_free_adamw": _SCHEDULE_FREE,
    "schedule_free_sgd": replace(
        _SCHEDULE_FREE,
        build=make.make_schedule_free_sgd,
        fresh_state=make.schedule_free_sgd_state,
        rate_factor=2500.0,
        rate_reason="five times that of SGD, as it does not fall",
    ),
}
