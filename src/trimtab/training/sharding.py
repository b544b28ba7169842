"""Weights, gradients and optimizer states in shares over several processes: FSDP2, torch's `fully_shard` used directly.

Between steps a process holds its share of everything. The first forward pass of a step gathers each block's weights;
they stay gathered until the last backward pass, which leaves each process its share of the gradients: as many exchanges
a step as there are blocks, whatever the number of pieces that a process cuts its rows into. (Gathering anew for every
piece would save the weights' memory within the step, and hang as soon as two processes cut differently.)

In evaluation mode the model holds its whole weights on every process, and needs no exchange at all: processes may
predict as many batches as they like. At the end of the training it becomes a plain model again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trimtab.config.recipe import Recipe
from trimtab.core.errors import OutOfMemoryError, RecipeError
from trimtab.core.hooks import StepHook
from trimtab.models.blocks import Blocks
from trimtab.strategies.base import TrainingPlan, frozen_modules
from trimtab.training.memory import is_out_of_memory

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule

# Those whose step over shares was tested to be that over whole tensors.
OPTIMIZERS = ("adamw", "adam", "sgd")
# Keys of what calls the model, or works on its weights, in a way of its own, by section.
_OWN_CALLS = {"regularization": ("r_drop", "mixup", "mixout"), "forgetting": ("distillation", "replay", "ewc")}


class ShardedModel:
    """What a sharded root module can do beside its own class's work; mixed into it by `shard`."""

    def train(self, mode: bool = True) -> Any:
        """Training mode holds a share of the weights, evaluation mode all of them. All processes call it together."""
        changed: Any = super().train(mode)  # type: ignore[misc]
        # The gathered tensors serve the next training step too, and must then be known to autograd.
        with torch.inference_mode(False), torch.no_grad():
            for module in _sharded_modules(changed):
                if mode:
                    module.reshard()
                else:
                    module.unshard()
        return changed

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Leave gradients summed in this process, as the engine wants for all pieces of a step but the last.

        Raises:
            OutOfMemoryError: memory ran out. A process that then tried again by itself would count a piece twice.
        """
        root: Any = self
        _set_sync(root, False)
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            _refuse_to_retry(error)
            raise
        finally:
            _set_sync(root, True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The forward pass; a lack of memory in it, or in the backward pass before, ends the run, see `no_sync`."""
        root: Any = self
        # Torch's own note of a backward pass that has begun and not come to its end.
        if root.training and root._get_fsdp_state()._state_ctx.post_backward_final_callback_queued:
            raise _cannot_retry("in a backward pass")
        try:
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        except (RuntimeError, MemoryError) as error:
            if root.training:
                _refuse_to_retry(error)
            raise


def check_sharding(
    recipe: Recipe,
    model: nn.Module,
    blocks: Blocks,
    plan: TrainingPlan,
    hooks: tuple[StepHook, ...],
    num_processes: int,
) -> None:
    """See that nothing in the recipe would be silently wrong over shares of tensors.

    Raises:
        RecipeError: with everything that is in the way.
    """
    problems = [*_recipe_problems(recipe, num_processes), *_model_problems(model, blocks, plan, hooks)]
    if problems:
        raise RecipeError(
            "training.sharding: fsdp does not go with the rest of the recipe.",
            problems=problems,
            remedy="Set training.sharding=none, which trains a whole copy in each process, or change what is named.",
        )


def _recipe_problems(recipe: Recipe, num_processes: int) -> Iterator[str]:
    if num_processes == 1:
        yield "There is one process, and nothing to share: start several with --devices N, or with torchrun."
    if recipe.optimizer.name not in OPTIMIZERS:
        yield f"optimizer.name: {recipe.optimizer.name}; the sharded ones are {', '.join(OPTIMIZERS)}."
    if recipe.training.compile is True:
        yield "training.compile: a compiled model is not sharded."
    for section, keys in _OWN_CALLS.items():
        for key in keys:
            if getattr(getattr(recipe, section), key):
                yield f"{section}.{key}: it calls the model, or works on its weights, in a way of its own."


def _model_problems(model: nn.Module, blocks: Blocks, plan: TrainingPlan, hooks: tuple[StepHook, ...]) -> Iterator[str]:
    if plan.stages:
        yield "The strategy unfreezes in stages."
    if plan.masks:
        yield "The strategy trains single elements of a parameter."
    if hasattr(model, "peft_config"):
        yield "The strategy adds adapters (peft)."
    acting = [hook.name for hook in hooks if not hook.watches_only]
    if acting:
        yield f"These work on whole parameters in every step: {', '.join(acting)}."
    everything = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    tied = sorted(set(everything) - {name for name, _ in model.named_parameters()})
    if tied:
        yield f"The model has tied weights: {tied[0]}."
    single = [name for name, parameter in model.named_parameters() if parameter.ndim == 0]
    if single:
        yield f"A parameter of a single number cannot be cut in shares: {single[0]}."
    still = {id(inner) for module in frozen_modules(model, blocks, plan) for inner in module.modules()}
    norms = [name for name, m in model.named_modules() if isinstance(m, _BatchNorm) and id(m) not in still]
    if norms:
        yield f"Batch norms would note the statistics of each process's own rows: {norms[0]}."


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` was applied to the model, and `make_whole` was not."""
    return isinstance(model, ShardedModel)


def shard(model: nn.Module, blocks: Blocks, optimizer: torch.optim.Optimizer, device: torch.device) -> nn.Module:
    """Cut weights and optimizer states in shares over all processes, in place; does nothing when that was done.

    Args:
        model: the bare model on its device, equal in all processes, with what trains chosen.
        blocks: its depth map; each block's modules are gathered on their own.
        optimizer: over the model's parameters; its groups get the shares in their place.
        device: where this process trains.

    Returns:
        The model itself.
    """
    if is_sharded(model):
        return model
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    places = {id(parameter): name for name, parameter in model.named_parameters()}
    whole = dict(model.named_parameters())
    skeleton = _without_weights(model)
    for block in blocks.body:
        for name in block.modules:
            for module in _callable_modules(model.get_submodule(name)):
                fully_shard(module, mesh=mesh, reshard_after_forward=False)
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    kind = type(model)
    model.__class__ = type(kind.__name__, (ShardedModel, kind), {})
    # Not as an attribute of the module, which would make it a child with parameters of its own.
    vars(model)["skeleton"] = skeleton
    shares = dict(model.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [shares[places[id(parameter)]] for parameter in group["params"]]
    for name, share in shares.items():
        state = optimizer.state.pop(whole[name], None)
        if state is not None:
            optimizer.state[share] = {key: _like(value, share) for key, value in state.items()}
    return model


def make_whole(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Turn a sharded model back into the plain one that it was, with its present weights; all processes together.

    The optimizer's states are dropped, as the training is over. Does nothing to a model that is not sharded.
    """
    if not is_sharded(model):
        return
    plain: nn.Module = vars(model)["skeleton"]
    optimizer.state.clear()
    model.train(True)
    live: dict[str, nn.Parameter] = dict(model.named_parameters())
    for name, parameter in list(plain.named_parameters()):
        owner, _, last = name.rpartition(".")
        tensor = whole_tensor(live.pop(name).detach())
        plain.get_submodule(owner).register_parameter(last, nn.Parameter(tensor, requires_grad=parameter.requires_grad))
    model.__class__ = type(plain)
    model.__dict__ = vars(plain)


def whole_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor whose shares lie in several processes, which call this together; others as they are."""
    whole: torch.Tensor = tensor.full_tensor() if is_share(tensor) else tensor  # type: ignore[attr-defined]
    return whole


def is_share(tensor: torch.Tensor) -> bool:
    """Whether a tensor is one of torch's `DTensor`, of which this process holds a share."""
    return hasattr(tensor, "full_tensor")


def gathered(tensors: dict[str, torch.Tensor], *, keep: bool) -> dict[str, torch.Tensor]:
    """Whole tensors in the host's memory, one gathered after the other; all processes call this together.

    Args:
        tensors: by name, the same names in all processes.
        keep: whether this process wants them; the others help and get none.
    """
    kept = {}
    for name, tensor in tensors.items():
        whole = whole_tensor(tensor.detach())
        if keep:
            kept[name] = whole.cpu()
    return kept


def share_of(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This process's share of a whole tensor, cut as `like` is; the tensor itself where `like` is whole.

    Args:
        tensor: whole, equal in all processes.
        like: a parameter, or another tensor of its shape.
    """
    if not is_share(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    cut: Any = like
    # Every process has read the same file: nothing need be sent.
    return distribute_tensor(tensor.to(like.device), cut.device_mesh, cut.placements, src_data_rank=None)


def _like(value: Any, share: torch.Tensor) -> Any:
    """A parameter's optimizer state cut as the parameter is; counters stay."""
    return share_of(value, share) if isinstance(value, torch.Tensor) else value


def _without_weights(model: nn.Module) -> nn.Module:
    """A copy of the model that shares its buffers and holds no weights."""
    memo: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for parameter in model.parameters():
        empty = torch.empty_like(parameter, device="meta")
        memo[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    return copy.deepcopy(model, memo)


def _callable_modules(module: nn.Module) -> Iterator[nn.Module]:
    """The module, or its children where it is a mere list; those without parameters are left out."""
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        for child in module.children():
            yield from _callable_modules(child)
    elif next(module.parameters(), None) is not None:
        yield module


def _sharded_modules(root: nn.Module) -> list[FSDPModule]:
    from torch.distributed.fsdp import FSDPModule

    return [module for module in root.modules() if isinstance(module, FSDPModule)]


def _set_sync(root: FSDPModule, wanted: bool) -> None:
    root.set_requires_gradient_sync(wanted)
    root.set_reshard_after_backward(wanted)
    root.set_is_last_backward(wanted)


def _refuse_to_retry(error: BaseException) -> None:
    """Turn a lack of memory into an error that ends the run.

    Raises:
        OutOfMemoryError: `error` is one.
    """
    if is_out_of_memory(error):
        raise _cannot_retry((str(error) or type(error).__name__).splitlines()[0][:200]) from error


def _cannot_retry(reason: str) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"Memory ran out in a sharded training ({reason}), where the other processes wait for this one.",
        remedy="Begin a new run with a smaller training.max_tokens_per_batch or with "
        "training.gradient_checkpointing=true, or resume this one on more devices.",
    )
