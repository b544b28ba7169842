"""Gradients, updates and weights by depth, and the noise of the gradient, on sampled steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil
import torch
from torch import nn

from trimtab.core.hooks import StepHook
from trimtab.models.blocks import Blocks
from trimtab.monitor.findings import round_significant

# Sampled steps of a run at most, besides the first ones, where most goes wrong; and steps between them at least.
SAMPLES = 100
APART = 4
FIRST_STEPS = 5
# Blocks are looked at on every so manieth of them: that is what costs, and no finding of 352 recorded runs needed more.
BLOCKS_EVERY = 2
# Rows that the noise of the gradient is measured on at least; steps with fewer are taken together.
FEWEST_ROWS = 8
# Elements of a tensor that stand for it: so many runs of so many neighbours.
RUNS, RUN_LENGTH = 8, 512
# Products of a classifier that takes several places of a row (decoders) are summed a row where they are no more.
MOST_PRODUCTS = 1 << 22
MIB = 1 << 20


@dataclass(frozen=True)
class _Scale:
    """How sampled elements of parameters, one parameter after another, make norms of blocks.

    Args:
        sizes: elements of each parameter by block.
        counts: sampled elements of each block.
        roots: by sampled element, the root of how many elements it stands for, `[elements]`.
    """

    sizes: dict[str, list[int]]
    counts: list[int]
    roots: torch.Tensor

    @classmethod
    def of(cls, sizes: dict[str, list[int]], device: torch.device) -> _Scale:
        """That of parameters of these sizes."""
        counts = {block: [min(size, RUNS * RUN_LENGTH) for size in of_block] for block, of_block in sizes.items()}
        every = [
            (size / count, count) for block in sizes for size, count in zip(sizes[block], counts[block], strict=True)
        ]
        shares = torch.tensor([share for share, _ in every]).sqrt()
        roots = shares.repeat_interleave(torch.tensor([count for _, count in every]))
        return cls(sizes, [sum(of_block) for of_block in counts.values()], roots.to(device))

    def norms(self, sampled: torch.Tensor) -> dict[str, float]:
        """By block, the norm of all its elements, estimated from the sampled ones, `[elements]`."""
        norms = torch._foreach_norm((sampled * self.roots).split(self.counts))
        return dict(zip(self.sizes, torch.stack(norms).tolist(), strict=True))


@dataclass
class _Noise:
    """The head's gradients of single rows in one step: sums over the rows."""

    rows: int = 0
    squares: float = 0.0
    total: torch.Tensor | None = None
    pending: list[torch.Tensor] = field(default_factory=list)


class DepthSignals(StepHook):
    """Writes a `signals` event on sampled steps; changes nothing and draws nothing at random.

    By block that trains, on every second of them: the norm of its gradient before clipping, the norm of its weights,
    and ‖Δw‖ / ‖w‖ of the step. They are estimated from up to 4,096 elements of each tensor. The noise of the gradient
    is measured at the last linear layer of the head, whose gradients of single rows are outer products: tr Σ and |G|²
    of McCandlish et al. 2018 (arXiv 1812.06162, appendix A), without bias.

    Args:
        model: the bare model.
        blocks: its depth map.
        num_labels: outputs of the layer that noise is measured at.
        total_steps: of the run.
        tell: called with the fields of the event.
    """

    watches_only = True

    def __init__(
        self, model: nn.Module, blocks: Blocks, num_labels: int, total_steps: int, tell: Callable[..., object]
    ) -> None:
        super().__init__("signals")
        self.model = model
        self.tell = tell
        self.every = max(APART, math.ceil(total_steps / SAMPLES))
        self._blocks = {block.name: block.parameters for block in blocks.blocks}
        self._armed = True
        self._scale: _Scale | None = None
        self._training: list[nn.Parameter] = []
        self._before: torch.Tensor | None = None
        self._fields: dict[str, dict[str, float | None]] = {}
        self._noise = _Noise()
        self._process = psutil.Process()
        head = _last_linear(model, blocks, num_labels)
        self._handle = None if head is None else head.register_forward_hook(self._catch)

    def is_sampled(self, step: int) -> bool:
        """Whether a step, from 1, is one of those that are looked at."""
        return step <= FIRST_STEPS or step % self.every == 0

    def looks_at_blocks(self, step: int) -> bool:
        """Whether a step, from 1, is one of those whose blocks are looked at."""
        return step <= FIRST_STEPS or step % (BLOCKS_EVERY * self.every) == 0

    def after_backward(self, step: int) -> dict[str, float]:
        """Norms of gradients."""
        self._training, self._before, self._fields = [], None, {}
        if not self.looks_at_blocks(step):
            return {}
        known = dict(self.model.named_parameters())
        blocks = {block: [known[name] for name in names] for block, names in self._blocks.items()}
        blocks = {
            block: [p for p in of_block if p.grad is not None and p.numel()] for block, of_block in blocks.items()
        }
        sizes = {block: [parameter.numel() for parameter in of_block] for block, of_block in blocks.items() if of_block}
        self._training = [parameter for of_block in blocks.values() for parameter in of_block]
        if self._training:
            if self._scale is None or self._scale.sizes != sizes:
                self._scale = _Scale.of(sizes, self._training[0].device)
            gradients = _gather([p.grad for p in self._training if p.grad is not None])
            self._fields = {block: {"grad_norm": norm} for block, norm in self._scale.norms(gradients).items()}
        return {}

    def before_update(self, step: int) -> None:
        """Keep the sampled weights."""
        if self._training:
            self._before = _gather(self._training)

    def after_update(self, step: int) -> None:
        """Compare with them, and tell."""
        if self._before is not None and self._scale is not None:
            sizes = self._scale.norms(self._before)
            for block, moved in self._scale.norms(_gather(self._training) - self._before).items():
                size = sizes[block]
                self._fields[block] |= {"weight_norm": size, "update_ratio": moved / size if size else None}
        if self.is_sampled(step):
            blocks = {"blocks": _short(self._fields)} if self._fields else {}
            self.tell(**blocks, noise=self._take_noise(), **self._memory())
        self._training, self._before = [], None
        self._armed = self.is_sampled(step + 1) or 0 < self._noise.rows < FEWEST_ROWS

    def close(self) -> None:
        """Take the hook off the model."""
        if self._handle is not None:
            self._handle.remove()

    def _memory(self) -> dict[str, float]:
        parameter = next(self.model.parameters())
        if parameter.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(parameter.device)
            return {"memory_mib": round((total - free) / MIB), "memory_total_mib": round(total / MIB)}
        memory = psutil.virtual_memory()
        used = min(self._process.memory_info().rss, memory.total)
        # What other processes hold is not ours to have.
        return {"memory_mib": round(used / MIB), "memory_total_mib": round((used + memory.available) / MIB)}

    def _catch(self, module: nn.Module, args: Any, output: Any) -> None:
        """Remember what the layer read, and wait for the gradient of what it gave."""
        if not (self._armed and torch.is_tensor(output) and output.requires_grad and torch.is_tensor(args[0])):
            return
        features = args[0].detach()
        output.register_hook(lambda gradient: self._note(features, gradient.detach()))

    def _note(self, features: torch.Tensor, gradient: torch.Tensor) -> None:
        rows = len(gradient)
        features, gradient = features.float().reshape(rows, -1, features.shape[-1]), gradient.float()
        gradient = gradient.reshape(rows, -1, gradient.shape[-1])
        if gradient.shape[1] == 1:
            squares = (features.square().sum(dim=(1, 2)) * gradient.square().sum(dim=(1, 2))).sum()
        elif rows * gradient.shape[-1] * features.shape[-1] <= MOST_PRODUCTS:
            squares = torch.einsum("bsk,bsd->bkd", gradient, features).square().sum()
        else:
            return
        total = torch.einsum("bsk,bsd->kd", gradient, features)
        self._noise.rows += rows
        self._noise.pending.append(squares)
        self._noise.total = total if self._noise.total is None else self._noise.total + total

    def _take_noise(self) -> dict[str, float] | None:
        noise = self._noise
        if noise.total is None or noise.rows < FEWEST_ROWS:
            return None
        self._noise = _Noise()
        count = noise.rows
        squares, mean_square = float(sum(noise.pending)), float((noise.total / count).square().sum())
        variance = (squares - count * mean_square) / (count - 1)
        # The scale of the loss (a sum, or a mean over the step) cancels in the ratio of the two.
        unbiased = mean_square - variance / count
        return {"variance": round_significant(variance), "squared_norm": round_significant(unbiased), "rows": count}


def _short(blocks: dict[str, dict[str, float | None]]) -> dict[str, dict[str, float | None]]:
    """The same numbers with the digits that mean something."""
    return {
        block: {name: None if value is None else round_significant(value, 5) for name, value in values.items()}
        for block, values in blocks.items()
    }


def _gather(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The elements that stand for the tensors, one after another, as a copy in float32, `[elements]`."""
    return torch.cat([_sample(tensor) for tensor in tensors]).float()


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    """The elements that stand for a tensor: all of a small one, else equally spaced runs of neighbours."""
    flat = tensor.detach().reshape(-1)
    size = flat.numel()
    if size <= RUNS * RUN_LENGTH:
        return flat
    return flat.as_strided((RUNS, RUN_LENGTH), ((size - RUN_LENGTH) // (RUNS - 1), 1)).reshape(-1)


def _last_linear(model: nn.Module, blocks: Blocks, num_labels: int) -> nn.Linear | None:
    """The layer of the head that gives the logits, if it is a linear one."""
    names = {name.rpartition(".")[0] for name in blocks.head.parameters}
    found = [module for name, module in model.named_modules() if name in names and isinstance(module, nn.Linear)]
    fitting = [module for module in found if module.out_features == num_labels]
    return fitting[-1] if fitting else None
