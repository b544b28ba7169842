"""Replay: the pretraining objective goes on as a weighted auxiliary loss beside the task's.

The auxiliary language-modelling loss of fine-tuning is that of Radford et al. (2018, "Improving Language Understanding
by Generative Pre-Training", section 3.2: L = L_task + λ · L_LM) and Chronopoulou et al. (2019, arXiv 1902.10547).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from trimtab.core.hooks import StepHook
from trimtab.core.seeds import stream, stream_seed
from trimtab.data.batching import Batch, cut_by_budget
from trimtab.models.language_heads import LanguageModel, language_model_loss
from trimtab.regularization.ewc import language_batch
from trimtab.strategies.base import HEAD_RATE
from trimtab.tasks.base import Examples
from trimtab.training.precision import autocast
from trimtab.training.scores import own_random_stream

# A language model's head gives a number for each token of the vocabulary, so that its batches stay smaller than others.
TOKEN_BUDGET = 2048
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class ReplayRows(Protocol):
    """Unlabelled rows to draw from."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray) -> Batch:
        """The rows padded to one batch; labels are not read."""
        ...


class EncodedRows:
    """Rows that are encoded already.

    Args:
        examples: the training rows.
    """

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, rows: np.ndarray) -> Batch:
        """The rows padded to one batch."""
        return self.examples.collate(rows)


class TextRows:
    """Texts that are encoded when they are drawn, so that a large corpus costs nothing at the start.

    Args:
        texts: one a row.
        encode: turns texts into encoded rows, as the task does.
    """

    def __init__(self, texts: Sequence[str], encode: Callable[[list[str]], Examples]) -> None:
        self.texts = texts
        self.encode = encode

    def __len__(self) -> int:
        return len(self.texts)

    def batch(self, rows: np.ndarray) -> Batch:
        """The rows padded to one batch."""
        return self.encode([self.texts[row] for row in rows]).collate(np.arange(len(rows)))


class Replay(StepHook):
    """Adds in every step the gradient of weight × mean language-modelling loss of rows drawn anew.

    The language model computes with the classifier's own backbone, in the run's precision and with its dropout. A head
    that came with the checkpoint stays frozen. A new one has weights of its own, which AdamW trains along at a constant
    rate of 1e-3; they and its moments are part of every checkpoint. Rows, masks and dropout come from streams of the
    seed and the step, and torch's own random states are left alone. Processes share the rows.

    Args:
        language: shares its backbone with the classifier (`share_backbone`).
        rows: what to draw from.
        weight: weight of the mean loss.
        count: rows of a step, over all processes; all, where there are fewer.
        tokenizer: names special tokens and the mask token.
        mask_probability: chance of a token to be masked, for masked models.
        accelerator: device and processes.
        precision: `bf16` or `fp32`.
        seed: the run's seed.
    """

    def __init__(
        self,
        language: LanguageModel,
        rows: ReplayRows,
        *,
        weight: float,
        count: int,
        tokenizer: Any,
        mask_probability: float,
        accelerator: Accelerator,
        precision: str,
        seed: int,
    ) -> None:
        super().__init__("replay")
        self.language = language
        self.rows = rows
        self.weight = weight
        self.count = min(count, len(rows))
        self.tokenizer = tokenizer
        self.mask_probability = mask_probability
        self.accelerator = accelerator
        self.precision = precision
        self.seed = seed
        self._head = language.head_parameters
        for parameter in self._head.values():
            parameter.requires_grad_(language.fresh)
        self._optimizer = torch.optim.AdamW(self._head.values(), lr=HEAD_RATE) if self._learns_head else None

    @property
    def _learns_head(self) -> bool:
        return self.language.fresh and bool(self._head)

    def after_backward(self, step: int) -> dict[str, float]:
        """Add the gradient; `replay_loss` in the record is the mean loss, in nats a token."""
        for parameter in self._head.values():
            parameter.grad = None
        trained = [parameter for parameter in self.language.model.parameters() if parameter.requires_grad]
        sums, loss, tokens = self._over_processes(*self._gradients(trained, step))
        if not tokens or not trained:
            return {}
        head = {id(parameter) for parameter in self._head.values()}
        for parameter, gradient in zip(trained, sums, strict=True):
            gradient = gradient.mul_((1.0 if id(parameter) in head else self.weight) / tokens)
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        return {"replay_loss": loss / tokens}

    def after_update(self, step: int) -> None:
        """Move the new head, where there is one."""
        if self._optimizer is not None:
            self._optimizer.step()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights and moments of a new head; nothing for a head that came with the checkpoint."""
        if self._optimizer is None:
            return {}
        found = {name: parameter.detach() for name, parameter in self._head.items()}
        for name, parameter in self._head.items():
            state = self._optimizer.state.get(parameter, {})
            found.update({f"{name}/{key}": torch.as_tensor(value) for key, value in state.items()})
        return found

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back weights and moments; moments that were not saved had not begun.

        Raises:
            KeyError: a tensor is missing.
        """
        if self._optimizer is None:
            return
        for name, parameter in self._head.items():
            with torch.no_grad():
                parameter.copy_(tensors[name])
            self._optimizer.state.pop(parameter, None)
            if f"{name}/step" in tensors:
                # The counter of AdamW stays on the CPU.
                self._optimizer.state[parameter] = {
                    key: tensors[f"{name}/{key}"].to("cpu" if key == "step" else parameter.device, copy=True)
                    for key in _MOMENTS
                }

    def _gradients(self, trained: list[nn.Parameter], step: int) -> tuple[list[torch.Tensor], float, int]:
        """Summed gradients, loss and tokens of this process's rows."""
        device, index = self.accelerator.device, self.accelerator.process_index
        sums = [torch.zeros_like(parameter) for parameter in trained]
        loss, count = torch.zeros((), device=device), 0
        # No gradient arrives anywhere while nothing of the model trains.
        pieces = self._pieces(step) if trained else []
        with own_random_stream(device, stream_seed(self.seed, "replay dropout", step, index)), torch.enable_grad():
            for inputs, labels in pieces:
                with autocast(device, self.precision):
                    total, tokens = language_model_loss(self.language.model, self.language.kind, inputs, labels)
                if tokens:
                    found = torch.autograd.grad(total, trained, materialize_grads=True)
                    torch._foreach_add_(sums, found)
                    loss += total.detach()
                    count += tokens
        return sums, float(loss), count

    def _pieces(self, step: int) -> list[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        """Inputs and labels of this process's rows, in pieces within the token budget.

        Rows and masks are drawn for all processes together, so that their number changes neither.
        """
        chosen = stream(self.seed, "replay", step).choice(len(self.rows), size=self.count, replace=False)
        batch = self.rows.batch(np.sort(chosen))
        generator = torch.Generator().manual_seed(stream_seed(self.seed, "replay masks", step))
        inputs, labels = language_batch(self.language, batch.inputs, self.tokenizer, generator, self.mask_probability)
        lengths = inputs["attention_mask"].sum(dim=1).numpy()
        mine = np.arange(len(lengths))[self.accelerator.process_index :: self.accelerator.num_processes]
        return [self._piece(inputs, labels, rows) for rows in cut_by_budget(mine, lengths, TOKEN_BUDGET)]

    def _piece(
        self, inputs: dict[str, torch.Tensor], labels: torch.Tensor, rows: np.ndarray
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Some rows of a batch on the device, without the columns in which they have padding only."""
        index = torch.from_numpy(rows)
        columns = inputs["attention_mask"][index].any(dim=0)
        device = self.accelerator.device
        return {name: value[index][:, columns].to(device) for name, value in inputs.items()}, labels[index][
            :, columns
        ].to(device)

    def _over_processes(
        self, sums: list[torch.Tensor], loss: float, tokens: int
    ) -> tuple[list[torch.Tensor], float, int]:
        """Summed over all processes."""
        if self.accelerator.num_processes == 1:
            return sums, loss, tokens
        both = torch.tensor([loss, tokens], dtype=torch.float64, device=self.accelerator.device)
        loss, tokens = self.accelerator.reduce(both, reduction="sum").tolist()
        return [self.accelerator.reduce(value, reduction="sum") for value in sums], loss, int(tokens)
