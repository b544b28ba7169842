"""How each optimizer is made, and what it keeps of a parameter.

The makers take torch's groups, the recipe's section, and whether all parameters lie where torch has fused kernels. The
state makers take the optimizer, the number of a group and a parameter, and give what stands there before its first
step: tensors of the right shape and type, or whole numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import nn

from trimtab.config.recipe import OptimizerSection
from trimtab.core.optional import require

Groups = list[dict[str, Any]]
State = dict[str, Any]

EXTRA, EXTRA_8BIT = "optimizers", "optimizers-8bit"
# The numbers that a schedule-free optimizer keeps of each group.
SCHEDULE_FREE_SCALARS = ("k", "weight_sum", "lr_max", "scheduled_lr", "train_mode")
# The weights that train, kept while the averaged ones stand in the model.
TRAINING_WEIGHTS = "y"


def _betas(section: OptimizerSection) -> tuple[float, float]:
    return section.setting("beta1"), section.setting("beta2")


def make_adamw(groups: Groups, section: OptimizerSection, fused: bool) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101)."""
    return torch.optim.AdamW(groups, betas=_betas(section), eps=section.setting("epsilon"), fused=fused)


def make_adam(groups: Groups, section: OptimizerSection, fused: bool) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980), without weight decay."""
    return torch.optim.Adam(groups, betas=_betas(section), eps=section.setting("epsilon"), fused=fused)


def adam_state(optimizer: Any, group: int, parameter: nn.Parameter) -> State:
    """Steps and two moments."""
    # Adam counts its steps on the CPU, unless it is fused.
    counter = parameter.device if optimizer.param_groups[group].get("fused") else torch.device("cpu")
    return {
        "step": torch.zeros((), dtype=torch.float32, device=counter),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def make_sgd(groups: Groups, section: OptimizerSection, fused: bool) -> torch.optim.Optimizer:
    """SGD with momentum or Nesterov momentum (Sutskever et al. 2013); the decay is a part of the gradient.

    Never fused: torch's fused kernel wants all parameters of a group to begin at the same step.
    """
    return torch.optim.SGD(groups, momentum=section.setting("momentum"), nesterov=section.setting("nesterov"))


def sgd_state(optimizer: Any, group: int, parameter: nn.Parameter) -> State:
    """The momentum; nothing without one."""
    return {"momentum_buffer": torch.zeros_like(parameter)} if optimizer.param_groups[group]["momentum"] else {}


def make_adafactor(groups: Groups, section: OptimizerSection, fused: bool) -> torch.optim.Optimizer:
    """Adafactor (Shazeer & Stern 2018, arXiv 1804.04235) at the schedule's rate: no relative steps, no scaling by the
    size of the parameters, so that a group's rate means what it means for AdamW.

    That of transformers: torch's own always scales by the size of the parameters.
    """
    from transformers.optimization import Adafactor

    beta1 = section.setting("beta1") or None
    return Adafactor(groups, lr=groups[0]["lr"], beta1=beta1, scale_parameter=False, relative_step=False)


def adafactor_state(optimizer: Any, group: int, parameter: nn.Parameter) -> State:
    """Steps, and second moments: of matrices a mean for each row and column, of vectors one an element."""
    half = parameter.dtype in {torch.float16, torch.bfloat16}
    like = parameter.detach().float() if half else parameter.detach()
    state: State = {"step": 0, "RMS": like.new_zeros(())}
    if like.ndim >= 2:
        state["exp_avg_sq_row"] = like.new_zeros(like.shape[:-1])
        state["exp_avg_sq_col"] = like.new_zeros(like.shape[:-2] + like.shape[-1:])
    else:
        state["exp_avg_sq"] = torch.zeros_like(like)
    if optimizer.param_groups[group]["beta1"] is not None:
        state["exp_avg"] = torch.zeros_like(like)
    return state


def pytorch_optimizer() -> ModuleType:
    """The library that has Lion."""
    return require("pytorch_optimizer", extra=EXTRA, purpose="train with the optimizer 'lion'")


def make_lion(groups: Groups, section: OptimizerSection, fused: bool) -> torch.optim.Optimizer:
    """Lion (Chen et al. 2023, arXiv 2302.06675)."""
    made: torch.optim.Optimizer = pytorch_optimizer().Lion(groups, lr=groups[0]["lr"], betas=_betas(section))
    return made


def lion_state(optimizer: Any, group: int, parameter: nn.Parameter) -> State:
    """The momentum."""
    return {"exp_avg": torch.zeros_like(parameter)}


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    level = logging.getLogger(logger).level
    logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger(logger).setLevel(level)


def bitsandbytes() -> ModuleType:
    """The library with states of 8 bits."""
    # It warns, when it is imported, of kernels for quantised weights, which are not needed here.
    with _quiet("bitsandbytes"):
        return require("bitsandbytes", extra=EXTRA_8BIT, purpose="train with an optimizer of 8 bits")


def make_adamw_8bit(groups: Groups, section: OptimizerSection, fused: bool) -> torch.optim.Optimizer:
    """AdamW with moments of 8 bits, quantised by blocks of 256 (Dettmers et al. 2022, arXiv 2110.02861).

    Parameters of fewer than 4096 elements keep moments of 32 bits.
    """
    optim = bitsandbytes().optim
    made: torch.optim.Optimizer = optim.AdamW8bit(groups, betas=_betas(section), eps=section.setting("epsilon"))
    return made


def make_lion_8bit(groups: Groups, section: OptimizerSection, fused: bool) -> torch.optim.Optimizer:
    """Lion with a momentum of 8 bits, see `make_lion` and `make_adamw_8bit`."""
    made: torch.optim.Optimizer = bitsandbytes().optim.Lion8bit(groups, betas=_betas(section))
    return made


def quantised_state(optimizer: Any, group: int, parameter: nn.Parameter) -> State:
    """As the library makes it: which parameters are quantised, and how, is its own affair."""
    settings = optimizer.param_groups[group]
    place = next(index for index, other in enumerate(settings["params"]) if other is parameter)
    optimizer.init_state(settings, parameter, group, place)
    state: State = optimizer.state.pop(parameter)
    return state


def schedulefree() -> ModuleType:
    """The library of the method's authors."""
    return require("schedulefree", extra=EXTRA, purpose="train with a schedule-free optimizer")


def make_schedule_free_adamw(groups: Groups, section: OptimizerSection, fused: bool) -> torch.optim.Optimizer:
    """Schedule-free AdamW (Defazio et al. 2024, arXiv 2405.15682)."""
    library = schedulefree()
    return _ready(library.AdamWScheduleFree(groups, betas=_betas(section), eps=section.setting("epsilon")))


def make_schedule_free_sgd(groups: Groups, section: OptimizerSection, fused: bool) -> torch.optim.Optimizer:
    """Schedule-free SGD (the same paper)."""
    return _ready(schedulefree().SGDScheduleFree(groups, momentum=section.setting("momentum")))


def schedule_free_adamw_state(optimizer: Any, group: int, parameter: nn.Parameter) -> State:
    """The sequence z, second moments, and at times the weights that train."""
    return {name: torch.zeros_like(parameter) for name in ("z", "exp_avg_sq", TRAINING_WEIGHTS)}


def schedule_free_sgd_state(optimizer: Any, group: int, parameter: nn.Parameter) -> State:
    """The sequence z, and at times the weights that train."""
    return {name: torch.zeros_like(parameter) for name in ("z", TRAINING_WEIGHTS)}


def _ready(optimizer: Any) -> torch.optim.Optimizer:
    """In training mode; and a group that is frozen stays at the start of its count.

    The library counts every group's steps, whether its parameters move or not. Those of a group that is unfrozen later
    would begin with the corrections and the averaging weights of that late step: a jump ten times too large.
    """
    optimizer.train()
    kept: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def before(*unused: Any) -> None:
        still = (
            group for group in optimizer.param_groups if all(parameter.grad is None for parameter in group["params"])
        )
        kept[:] = [(group, {name: group[name] for name in SCHEDULE_FREE_SCALARS}) for group in still]

    def after(*unused: Any) -> None:
        for group, scalars in kept:
            group.update(scalars)
        kept.clear()

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
    made: torch.optim.Optimizer = optimizer
    return made
