"""A model cut above its frozen blocks: what lies below the cut need not run where its output is known.

The cut is found by running the model once. Of the modules that hold frozen blocks, the output of the one that is
called last crosses the cut; the modules below it are then passed over, and give that output back when they are called.
All else in the model's forward pass (masks, positions, the blocks above) runs as always, so that nothing is known here
of any architecture; where this does not give the model's own outputs bit for bit, the model is not cut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from trimtab.core.cache import content_key
from trimtab.models.blocks import Blocks

ACTIVATIONS = "frozen_activations"
"""Name, among a model's inputs, of the output of the frozen blocks."""

# Entries of a model's configuration that do not change what frozen blocks compute.
_IRRELEVANT = ("_name_or_path", "id2label", "label2id", "problem_type", "transformers_version", "architectures")


class NoCutError(Exception):
    """The model cannot be cut; the message says why."""


class _Reached(Exception):
    """The deepest cut that was asked for is computed."""


def frozen_depth(blocks: Blocks, trained: Collection[str]) -> int:
    """Number of blocks between the embeddings and the lowest parameter that trains; 0 where nothing can be cut off.

    Args:
        blocks: the depth map.
        trained: names of the parameters that train.
    """
    depths = {name: index for index, block in enumerate(blocks.blocks) for name in block.parameters}
    lowest = min((depths.get(name, 0) for name in trained), default=0)
    return max(0, lowest - 1)


class Cut:
    """A model cut above its first `depth` blocks.

    Args:
        model: bare model; nothing of it below the cut trains.
        blocks: its depth map.
        depth: from `frozen_depth`, at least 1.
        trained: names of the parameters that train.
        inputs: some real inputs, `[batch, …]` each, on the model's device, to try it with.

    Raises:
        NoCutError: the model's forward pass does not allow it.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Blocks,
        depth: int,
        trained: Collection[str],
        inputs: Mapping[str, torch.Tensor],
    ) -> None:
        self.model = model
        self.depth = depth
        self._modules = _modules_below(model, blocks, depth)
        self._given: torch.Tensor | None = None
        self._handles: list[Any] = []
        with _evaluating(model):
            self.name, self.calls, self._specs = _trace(model, self._modules, trained, inputs)
            self._try(inputs)

    def below(self, inputs: Mapping[str, torch.Tensor], others: Collection[Cut] = ()) -> list[torch.Tensor]:
        """The output of the frozen blocks, and those of lower cuts; what lies above this cut does not run.

        Args:
            inputs: of the model.
            others: cuts of the same model at smaller depths.
        """
        cuts = (self, *others)
        found: dict[int, torch.Tensor] = {}

        def keep(cut: Cut) -> Any:
            counter = iter(range(1, cut.calls + 1))

            def hook(module: nn.Module, args: Any, output: Any) -> None:
                if next(counter) < cut.calls:
                    return
                found[id(cut)] = next(leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, torch.Tensor))
                if cut is self:
                    raise _Reached

            return hook

        handles = [cut._modules[cut.name].register_forward_hook(keep(cut)) for cut in cuts]
        try:
            self.model(**inputs)
        except _Reached:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return [found[id(cut)] for cut in cuts]

    def install(self) -> None:
        """From now on the model takes `ACTIVATIONS` among its inputs, and passes over what lies below the cut.

        Without it, the model computes everything as before.
        """
        for name, module in self._modules.items():
            if name in self._specs:
                module.forward = self._stub(name, module.forward)
        self._handles = [
            self.model.register_forward_pre_hook(self._take, with_kwargs=True, prepend=True),
            self.model.register_forward_hook(self._drop, always_call=True),
        ]

    def remove(self) -> None:
        """The model as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for module in self._modules.values():
            module.__dict__.pop("forward", None)

    def fingerprint(self, *context: Any) -> str:
        """A key of what the frozen blocks compute: their weights, the configuration, and `context`."""
        weights = [
            (name, key, _as_array(tensor))
            for name, module in self._modules.items()
            for key, tensor in module.state_dict(keep_vars=True).items()
        ]
        config = getattr(self.model, "config", None)
        settings = {key: value for key, value in (config.to_dict() if config else {}).items() if key not in _IRRELEVANT}
        parts = [part for name, key, array in weights for part in (name, key, array)]
        return content_key(type(self.model).__name__, self.name, self.calls, settings, list(context), *parts)

    def _stub(self, name: str, forward: Any) -> Any:
        spec, places = self._specs[name]

        def give(*args: Any, **kwargs: Any) -> Any:
            if self._given is None:
                return forward(*args, **kwargs)
            return tree_unflatten([self._given if here else None for here in places], spec)

        return give

    def _take(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        self._given = kwargs.pop(ACTIVATIONS, None)
        return args, kwargs

    def _drop(self, module: nn.Module, args: Any, output: Any) -> None:
        self._given = None

    def _try(self, inputs: Mapping[str, torch.Tensor]) -> None:
        """See that the cut model gives the outputs of the whole one."""
        whole = self.model(**inputs)
        activations = self.below(inputs)[0]
        self.install()
        try:
            cut = self.model(**inputs, **{ACTIVATIONS: activations})
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
            raise NoCutError(f"without its frozen blocks, the forward pass fails: {error}") from error
        finally:
            self.remove()
        if not torch.equal(_logits(whole), _logits(cut)):
            raise NoCutError("more than one output of the frozen blocks is used above them")


def _modules_below(model: nn.Module, blocks: Blocks, depth: int) -> dict[str, nn.Module]:
    """The modules with parameters of the embeddings and the first blocks, by name; of containers, what they hold."""
    found: dict[str, nn.Module] = {}

    def add(name: str, module: nn.Module) -> None:
        if isinstance(module, nn.ModuleList | nn.ModuleDict):
            for child_name, child in module.named_children():
                add(f"{name}.{child_name}", child)
        elif next(module.parameters(), None) is not None:
            found[name] = module

    for block in blocks.blocks[: depth + 1]:
        for name in block.modules:
            add(name, model.get_submodule(name))
    return found


def _trace(
    model: nn.Module, below: Mapping[str, nn.Module], trained: Collection[str], inputs: Mapping[str, torch.Tensor]
) -> tuple[str, int, dict[str, tuple[TreeSpec, list[bool]]]]:
    """Run the model: which of the modules is called last, how often, and what form each one's output has.

    Raises:
        NoCutError: something that trains runs before, or the last output is not one tensor.
    """
    ended: list[str] = []
    late: list[str] = []
    specs: dict[str, tuple[TreeSpec, list[bool]]] = {}
    begun: list[str] = []

    def end_of(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            leaves, spec = tree_flatten(output)
            specs[name] = spec, [isinstance(leaf, torch.Tensor) for leaf in leaves]
            ended.append(name)
            late.extend(begun)

        return hook

    def start_of(name: str) -> Any:
        return lambda module, args: begun.append(name)

    owners = {name.rpartition(".")[0] for name in trained}
    handles = [module.register_forward_hook(end_of(name)) for name, module in below.items()]
    # A module that contains frozen blocks begins before they do.
    handles += [
        model.get_submodule(name).register_forward_pre_hook(start_of(name))
        for name in owners
        if not any(f"{frozen}.".startswith(f"{name}.") for frozen in below)
    ]
    try:
        model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not ended:
        raise NoCutError("its frozen blocks are not modules that the forward pass calls")
    if sum(specs[ended[-1]][1]) != 1:
        raise NoCutError(f"{ended[-1]} has more than one output")
    if late:
        raise NoCutError(f"{late[0]}, which trains, runs before {ended[-1]}, which is frozen")
    return ended[-1], ended.count(ended[-1]), specs


def _logits(outputs: Any) -> torch.Tensor:
    logits: torch.Tensor = outputs.logits if hasattr(outputs, "logits") else outputs
    return logits


def _as_array(tensor: torch.Tensor) -> Any:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode comes back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
