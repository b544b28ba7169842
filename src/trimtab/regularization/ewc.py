"""Elastic weight consolidation: pretrained weights are held back by how much the pretrained model depends on them.

Kirkpatrick et al. (2017, arXiv 1612.00796) add λ/2 · Σ Fᵢ (wᵢ − w⁰ᵢ)² to the loss, with w⁰ the weights after the old
task and F the diagonal of its Fisher information. The old task is here the pretraining, of which an unlabelled sample
of texts or images is at hand:

- A model with a language-model head defines p(token | context). F = E[(∂ log p / ∂w)²] over texts and over tokens drawn
  from the model's own predictions, at masked positions (masked models) or at each position given the true beginning
  (causal ones). Drawing the tokens, instead of taking the true ones, gives the Fisher information proper and not the
  empirical one (Kunstner et al. 2019, arXiv 1905.12558). The positions' gradients are summed within a text: their
  products vanish in expectation, because the tokens are drawn independently.
- A model without one (a sentence encoder, an image model) defines a representation h(x; w), the mean of its last hidden
  states. Seen as the mean of a Gaussian of unit variance, its Fisher information is JᵀJ with J = ∂h/∂w, the
  Gauss–Newton matrix (Martens 2020, arXiv 1412.1193, section 9). Its diagonal Σₖ (∂hₖ/∂w)² equals E[(∂(v·h)/∂w)²] over
  random vectors v with E[vvᵀ] = I. Here v has random signs, and one is drawn for each row.

F is divided by its mean over the elements of the model below the head, so that λ has the scale of the L2-SP penalty and
carries over from one model to another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from trimtab.core.errors import RecipeError
from trimtab.core.hooks import StepHook
from trimtab.core.seeds import stream_seed
from trimtab.models.language_heads import IGNORED, LanguageModel, causal_labels, mask_tokens
from trimtab.regularization.distillation import catching, pooled
from trimtab.tasks.base import Examples
from trimtab.training.scores import Gradients, accumulate, undisturbed


def measure_fisher(
    model: nn.Module,
    backbone: Collection[str],
    examples: Examples,
    *,
    accelerator: Accelerator,
    seed: int,
    language: LanguageModel | None = None,
    tokenizer: Any = None,
) -> dict[str, torch.Tensor]:
    """Diagonal Fisher information of a pretrained model on unlabelled rows, scaled to a mean of 1.

    Rows pass one by one, without dropout and in float32; labels are not read. The model and torch's random states are
    left as they were.

    Args:
        model: the bare model with its task head, on the accelerator's device.
        backbone: names of its parameters below the head.
        examples: the sample; every row is used. Processes share the rows.
        accelerator: device and processes.
        seed: the run's seed.
        language: a language model that shares the model's backbone (`share_backbone`); the Fisher information of the
            representation when None.
        tokenizer: names special tokens and the mask token; for `language`.

    Returns:
        Parameter name -> non-negative values of the parameter's shape, float32, on the model's device; zero where the
        loss does not reach.

    Raises:
        RecipeError: the sample is empty, or no weight influences what the model makes of it.
        OutOfMemoryError: a single row does not fit the device.
    """
    if not len(examples):
        raise RecipeError(
            "forgetting.ewc cannot measure the Fisher information on an empty sample.",
            remedy="Name a file of texts with forgetting.text, or give training rows.",
        )
    device = accelerator.device
    wanted = set(backbone)
    with undisturbed(model, device, stream_seed(seed, "fisher dropout")):
        parameters = {name: value for name, value in model.named_parameters() if name in wanted and value.requires_grad}

        def gradients(piece: np.ndarray) -> tuple[Gradients, int]:
            inputs = examples.collate(piece).to(device).inputs
            generator = torch.Generator().manual_seed(stream_seed(seed, "fisher", int(piece[0])))
            if language is None:
                value = _projected_representation(model, inputs, generator)
            else:
                value = _log_likelihood(language, inputs, tokenizer, generator)
            return torch.autograd.grad(value, list(parameters.values()), materialize_grads=True), 1

        pieces = [np.array([row]) for row in range(len(examples))]
        sums, _ = accumulate(gradients, pieces, list(parameters.values()), square=True, accelerator=accelerator)
    return _scaled(dict(zip(parameters, sums, strict=True)))


def _projected_representation(
    model: nn.Module, inputs: dict[str, torch.Tensor], generator: torch.Generator
) -> torch.Tensor:
    """v·h of a single row, with v of random signs."""
    with catching(model) as caught:
        model(**inputs)
    if caught.hidden is None:
        raise ValueError("the forward pass went by the base model, whose hidden states are needed")
    representation = pooled(caught.hidden, inputs.get("attention_mask"))
    signs = torch.randint(0, 2, representation.shape, generator=generator) * 2 - 1
    return (representation * signs.to(representation.device)).sum()


def _log_likelihood(
    language: LanguageModel, inputs: dict[str, torch.Tensor], tokenizer: Any, generator: torch.Generator
) -> torch.Tensor:
    """Summed log-probability, in a single row, of tokens drawn from the model's own predictions."""
    changed, labels = language_batch(language, inputs, tokenizer, generator)
    logits = language.model(**changed).logits
    if language.kind == "causal":
        logits, labels = logits[:, :-1], labels[:, 1:]
    log_probabilities = logits[labels != IGNORED].float().log_softmax(dim=-1)
    if not len(log_probabilities):
        return log_probabilities.sum()
    drawn = torch.multinomial(log_probabilities.detach().exp().cpu(), 1, generator=generator)
    return log_probabilities.gather(1, drawn.to(log_probabilities.device)).sum()


def language_batch(
    language: LanguageModel,
    inputs: Mapping[str, torch.Tensor],
    tokenizer: Any,
    generator: torch.Generator,
    mask_probability: float = 0.15,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Inputs of a language model and the labels to predict, for rows encoded for a classifier.

    Args:
        language: masked or causal.
        inputs: `input_ids`, `attention_mask`, …, each `[batch, seq]`; not changed.
        tokenizer: names the special tokens, which are never masked.
        generator: source of the masks, on the CPU.
        mask_probability: chance of a token to be masked.

    Returns:
        The inputs, tokens masked where the model is a masked one, and the labels `[batch, seq]` as
        `language_model_loss` takes them.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    if language.kind == "causal":
        return dict(inputs), causal_labels(ids, mask)
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids, device=ids.device)) | (mask == 0)
    masked, labels = mask_tokens(ids, special, tokenizer, generator, mask_probability)
    return {**inputs, "input_ids": masked}, labels


def _scaled(fisher: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Divided by the mean over all elements."""
    total = sum(float(value.sum(dtype=torch.float64)) for value in fisher.values())
    elements = sum(value.numel() for value in fisher.values())
    if not np.isfinite(total) or total <= 0:
        raise RecipeError(
            "The Fisher information of the pretrained model is zero, NaN or infinite on the whole sample: no weight "
            "can be told from another.",
            remedy="Name a file with other or longer texts with forgetting.text, or check the model's weights.",
        )
    return {name: value * (elements / total) for name, value in fisher.items()}


class EwcPenalty(StepHook):
    """λ/2 · Σ Fᵢ (wᵢ − w⁰ᵢ)²: its gradient λ · Fᵢ (wᵢ − w⁰ᵢ) is added where a gradient arrived.

    It keeps two tensors of the size of each parameter: F and w⁰. Neither is part of a checkpoint: F is given and w⁰ is
    read from the pretrained model, and both stay what they are.

    F is far from even: on a MiniLM sentence encoder, the largest element (an embedding added to every token) is 12,000
    times the mean. The penalty's gradient is therefore stiff. Adam and its kin divide it out; plain SGD diverges where
    learning rate × λ × the largest F exceeds 2.

    Args:
        parameters: name -> parameter, with the pretrained weights.
        fisher: name -> F, from `measure_fisher`; of those in `parameters`.
        weight: λ.
        reference: name -> w⁰; a copy of the parameters when None.

    Raises:
        KeyError: `fisher` lacks a parameter.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        fisher: Mapping[str, torch.Tensor],
        weight: float,
        reference: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        super().__init__("ewc")
        self.weight = weight
        start = parameters if reference is None else reference
        self._held = [
            (value, start[name].detach().to(value.device, copy=True), fisher[name].to(value.device, value.dtype))
            for name, value in parameters.items()
        ]

    @torch.no_grad()
    def after_backward(self, step: int) -> dict[str, float]:
        """Add the penalty's gradient; `ewc` in the record is the penalty's value."""
        held = [(*entry, entry[0].grad) for entry in self._held if entry[0].grad is not None]
        if not held:
            return {"ewc": 0.0}
        weights, starts, fisher, gradients = (list(column) for column in zip(*held, strict=True))
        moved = torch._foreach_sub(weights, starts)
        pull = torch._foreach_mul(moved, fisher)
        torch._foreach_add_(gradients, pull, alpha=self.weight)
        products = [torch.dot(one.flatten(), other.flatten()) for one, other in zip(moved, pull, strict=True)]
        return {"ewc": self.weight / 2 * float(torch.stack(products).sum())}
