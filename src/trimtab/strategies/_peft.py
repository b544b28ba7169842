"""What the adapter strategies do through `peft`: put adapters in, merge them, write them, and read them back.

Adapters are injected into the model itself, so that it keeps its class, its configuration and its forward pass. A
wrapper around the model comes only where `peft` knows no other way (virtual tokens).
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import RecipeError
from trimtab.core.optional import require

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trimtab.models.blocks import Blocks

ADAPTER = "default"
WEIGHTS_FILE = "adapter_model.safetensors"


def peft() -> Any:
    """The package `peft`.

    Raises:
        MissingDependencyError: it is not installed.
    """
    # It imports bitsandbytes where that is installed, which complains of kernels that are not needed here.
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return require("peft", extra="peft", purpose="train adapters")
    finally:
        logger.setLevel(level)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what `peft` warns of; what matters of it (sizes that it changes) stands in the plan's notes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def refuse_adapted(model: nn.Module) -> None:
    """Refuse a model that has adapters already.

    Raises:
        RecipeError: it has.
    """
    if getattr(model, "peft_config", None):
        raise RecipeError(
            "The model has adapters already, and a second set on top of them could not be merged or saved.",
            remedy="Merge them into the model first (merge_and_unload of peft), or choose the model without them.",
        )


def inject(model: nn.Module, config: Any) -> nn.Module:
    """Put adapters into the model, in place; it stays the same object.

    Args:
        model: on the CPU; every parameter is frozen afterwards but the adapters'.
        config: a configuration of `peft` that names the layers in full.
    """
    package = peft()
    with quiet():
        tuner = package.PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
        # Not `inject_adapter_in_model`: it refuses VeRA, whose layers all hold the matrices that they share.
        adapted: nn.Module = tuner(model, config, ADAPTER).model
    _show_constants(adapted)
    return adapted


def _layer_class() -> Any:
    """The base of all adapted layers."""
    return require("peft.tuners.tuners_utils", extra="peft", purpose="train adapters").BaseTunerLayer


def _show_constants(model: nn.Module) -> None:
    """Let adapted layers show the constants of the layers inside them.

    MobileNetV2 reads stride and kernel size of its convolutions to pad their inputs, and `peft` does not pass them on.
    """
    for module in model.modules():
        if isinstance(module, _layer_class()):
            layer: Any = module
            base = layer.get_base_layer()
            for name in getattr(base, "__constants__", ()):
                if not hasattr(layer, name) and hasattr(base, name):
                    setattr(layer, name, getattr(base, name))


def follow_blocks(model: nn.Module, blocks: Blocks, prefix: str = "", new: Mapping[str, str] | None = None) -> Blocks:
    """The depth map of a model that adapters were added to: each parameter in the block whose module it lies in.

    Args:
        model: with adapters.
        blocks: the depth map of the model before.
        prefix: what a wrapper puts before every name, with its dot.
        new: module that the wrapper brings -> name of the block it belongs to.

    Raises:
        ValueError: a parameter lies in no block.
    """
    new = new or {}
    parameters: dict[str, list[str]] = {block.name: [] for block in blocks.blocks}
    for name, _ in model.named_parameters():
        owner = next((block for module, block in new.items() if name.startswith(f"{module}.")), None)
        if owner is None:
            found = blocks.owner_of(name.removeprefix(prefix))
            if found is None:
                raise ValueError(f"the parameter {name} lies in no block")
            owner = found.name
        parameters[owner].append(name)
    followed = tuple(
        replace(
            block,
            modules=(
                *(f"{prefix}{name}" for name in block.modules),
                *(module for module, owner in new.items() if owner == block.name),
            ),
            parameters=tuple(parameters[block.name]),
        )
        for block in blocks.blocks
    )
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return replace(blocks, blocks=followed, sizes=sizes)


def head_modules(model: nn.Module, blocks: Blocks) -> tuple[str, ...]:
    """Names of the modules that hold the head's parameters.

    Raises:
        RecipeError: a parameter of the head stands outside of its modules, so that `peft` could not save it.
    """
    modules = dict(model.named_modules())
    names = tuple(name for name in blocks.head.modules if next(modules[name].parameters(), None) is not None)
    loose = [name for name in blocks.head.parameters if not any(name.startswith(f"{module}.") for module in names)]
    if loose or not names:
        raise RecipeError(
            f"The head of {blocks.architecture} is no module of its own ({', '.join(loose) or 'it has no parameter'}), "
            "so that peft cannot save it beside adapters.",
            remedy="Use --strategy full or partial.",
        )
    return names


def merged_copy(model: nn.Module) -> nn.Module:
    """A copy of the model with the adapters merged into the weights: the plain model, that knows nothing of `peft`.

    Args:
        model: from `inject`; it is left as it is.
    """
    import torch

    layer_class = _layer_class()
    plain = copy.deepcopy(model)
    with torch.no_grad(), quiet():
        for name, module in list(plain.named_modules()):
            if isinstance(module, layer_class):
                module.merge()
                parent, _, child = name.rpartition(".")
                setattr(plain.get_submodule(parent), child, module.get_base_layer())
    del plain.peft_config
    return plain


def write_adapter(
    folder: Path,
    *,
    model: nn.Module,
    config: Any,
    head: tuple[str, ...],
    adapter: Mapping[str, torch.Tensor],
    prefix: str,
) -> None:
    """Write a folder that `peft.PeftModel.from_pretrained(base model, folder)` loads, the head included.

    Args:
        folder: made where it is missing.
        model: the base model or the model with injected adapters, whose modules of the head are read.
        config: the adapters' configuration, left as it is.
        head: names of the head's modules.
        adapter: the adapters' tensors under the names that `peft` gives them in a file.
        prefix: what `peft` puts before names of the base model, with its dot.

    Raises:
        OSError: the folder cannot be written.
    """
    from safetensors.torch import save

    tensors = dict(adapter)
    modules = dict(model.named_modules())
    # Whatever ends like a module of the head is taken for one by peft, which then wants its weights.
    for name in [name for name in modules if name.endswith(head)]:
        tensors |= {f"{prefix}{name}.{key}": tensor for key, tensor in modules[name].state_dict().items()}
    saved = copy.copy(config)
    saved.modules_to_save = list(head)
    saved.inference_mode = True
    saved.base_model_name_or_path = getattr(model, "name_or_path", None) or None
    if getattr(saved, "target_modules", None):
        saved.target_modules = sorted(saved.target_modules)
    folder.mkdir(parents=True, exist_ok=True)
    saved.save_pretrained(str(folder))
    # Copies: safetensors wants no two names for one memory.
    content = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
    (folder / WEIGHTS_FILE).write_bytes(content)


def adapter_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of injected adapters, and of biases that train beside them, under the names of a file of `peft`."""
    found: dict[str, torch.Tensor] = peft().get_peft_model_state_dict(model, save_embedding_layers=False)
    return {f"base_model.model.{name}": tensor for name, tensor in found.items()}


def load_adapter(base_model: nn.Module, folder: Path) -> nn.Module:
    """The base model with the adapters of a folder that `save_adapter` wrote, its head included; in evaluation mode.

    Args:
        base_model: as it was before adapters were added; its head may hold any weights. It is changed.
        folder: with `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        MissingDependencyError: `peft` is not installed.
        OSError: the folder cannot be read.
    """
    with quiet():
        loaded: nn.Module = peft().PeftModel.from_pretrained(base_model, str(folder))
    _show_constants(loaded)
    return loaded.eval()
