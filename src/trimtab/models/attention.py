"""Implementations of attention: which a model and a machine have, and changing from one to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from trimtab.core.errors import RecipeError
from trimtab.models.quiet import quiet_transformers, reason_of

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

EAGER, SDPA, FLASH, FLEX = "eager", "sdpa", "flash_attention_2", "flex_attention"
ATTENTIONS = (EAGER, SDPA, FLASH, FLEX)
KEY = "model.attention"
_ELSE = "Set model.attention=sdpa or eager, or leave it auto."


def check_attention(wanted: str, device: torch.device) -> None:
    """Refuse an implementation that this machine does not have, before any weights are read.

    Args:
        wanted: `auto` or one of `ATTENTIONS`.
        device: to train on.

    Raises:
        RecipeError: it needs CUDA, or a package that is not installed.
    """
    if wanted not in (FLASH, FLEX):
        return
    if device.type != "cuda":
        raise RecipeError(f"{KEY}: {wanted} needs CUDA, and the run is on {device.type!r}.", remedy=_ELSE)
    if wanted == FLASH and not has_flash():
        raise RecipeError(
            f"{KEY}: {wanted} needs the package flash-attn, which is not installed or does not fit this CUDA.",
            remedy=f"Install it (pip install flash-attn --no-build-isolation). {_ELSE}",
        )


def has_flash() -> bool:
    """Whether the package flash-attn is there and usable."""
    from transformers.utils import is_flash_attn_2_available

    return bool(is_flash_attn_2_available())


def attention_of(model: nn.Module) -> str:
    """The implementation that a model uses; `eager` where it does not say, as where it has no attention."""
    found = getattr(getattr(inner_model(model), "config", None), "_attn_implementation", None)
    return found if found in ATTENTIONS else EAGER


def attentions_of(model: nn.Module, device: torch.device) -> tuple[str, ...]:
    """The implementations worth trying for a model on a device, the one that it uses first.

    Without `flex_attention`: it compiles for tens of seconds before its first pass.
    """
    current = attention_of(model)
    inner = inner_model(model)
    if inner is None or not inner._can_set_attn_implementation() or not _has_attention(inner):
        return (current,)
    found = [EAGER]
    if getattr(inner, "_supports_sdpa", False):
        found.append(SDPA)
    if device.type == "cuda" and getattr(inner, "_supports_flash_attn", False) and has_flash():
        found.append(FLASH)
    return (current, *(name for name in found if name != current))


def _has_attention(model: nn.Module) -> bool:
    return any("attention" in type(module).__name__.lower() for module in model.modules())


def set_attention(model: nn.Module, wanted: str) -> None:
    """Change a model to another implementation, by transformers' own checks.

    Raises:
        RecipeError: the model does not support it.
    """
    inner = inner_model(model)
    if inner is not None and attention_of(inner) != wanted:
        try:
            with quiet_transformers():
                inner.set_attn_implementation(wanted)
        except (ValueError, ImportError) as error:
            raise unsupported(wanted, error) from error
        if attention_of(inner) != wanted:
            raise unsupported(wanted, ValueError(f"{type(inner).__name__} keeps to {attention_of(inner)}"))
    if inner is not None and wanted == FLASH:
        keep_flash_to_half(inner)


def unsupported(wanted: str, error: BaseException) -> RecipeError:
    """The error for an implementation that a model does not have."""
    return RecipeError(f"{KEY}: this model does not run with {wanted}: {reason_of(error)}.", remedy=_ELSE)


def keep_flash_to_half(model: PreTrainedModel) -> None:
    """Let passes in float32, as of the last evaluation, take `sdpa`: flash attention computes in half precision."""
    if not any(hook is _choose_by_precision for hook in model._forward_pre_hooks.values()):
        model.register_forward_pre_hook(_choose_by_precision)


def _choose_by_precision(model: nn.Module, args: Any) -> None:
    import torch

    inner = cast("PreTrainedModel", model)
    device = next(inner.parameters()).device
    half = device.type == "cuda" and torch.is_autocast_enabled(device.type)
    wanted = FLASH if half else SDPA
    if inner.config._attn_implementation != wanted:
        inner.set_attn_implementation(wanted)


def inner_model(model: nn.Module) -> PreTrainedModel | None:
    """The model of transformers, inside what a strategy wrapped around it; None where there is none."""
    from transformers import PreTrainedModel

    return next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)
