"""Language-model heads: does a checkpoint carry one, and how well does a model still do what it was pretrained for.

A classifier has lost the head it was pretrained with. Here that head is read again from the checkpoint and put on the
classifier's own backbone, without a copy of it: to measure the pretraining loss, or to train it as an auxiliary loss.

The pretraining objectives are masked language modelling (Devlin et al. 2019, "BERT", arXiv 1810.04805, section 3.1,
task 1) and causal language modelling (Radford et al. 2018, "Improving Language Understanding by Generative
Pre-Training", section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from trimtab.core.errors import ModelError
from trimtab.models.configs import load_config
from trimtab.models.hub import local_directory
from trimtab.models.integrity import check_weights
from trimtab.models.loading import build_model

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

    from trimtab.models.sources import ModelSource

Kind = Literal["masked", "causal"]

IGNORED = -100
"""Label of a token that no loss is taken of, as in transformers."""
MASKING_PROBABILITY = 0.15
_MASKED_SHARE, _RANDOM_SHARE = 0.8, 0.1
_AUTO_CLASSES: dict[Kind, str] = {"masked": "AutoModelForMaskedLM", "causal": "AutoModelForCausalLM"}


@dataclass(frozen=True)
class LanguageModel:
    """A backbone with a language-model head.

    Args:
        model: the model, in float32 and evaluation mode, on the CPU.
        kind: `masked` (tokens are predicted from both sides) or `causal` (from the left).
        fresh: whether the head, or a part of it, starts from random weights.
    """

    model: PreTrainedModel
    kind: Kind
    fresh: bool = False

    @property
    def backbone(self) -> nn.Module:
        """The part below the head."""
        backbone: nn.Module = self.model.base_model
        return backbone

    @property
    def head_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of the head alone, by name; a matrix tied to the embedding table is not among them."""
        inside = {id(parameter) for parameter in self.backbone.parameters()}
        return {name: value for name, value in self.model.named_parameters() if id(value) not in inside}


def load_language_model(source: ModelSource, *, trust_remote_code: bool = False) -> LanguageModel | None:
    """The language model at `source`, or None where the checkpoint carries no whole language-model head.

    A head tied to the embedding table counts as there. Encoder-decoder models give None: their pretraining objective
    is neither of the two.

    Args:
        source: from `resolve_model`.
        trust_remote_code: run Python code that comes with the model.

    Raises:
        ModelError: the model cannot be found or read, or its weights are damaged.
    """
    config = _config(source, trust_remote_code)
    kind = _kind(config)
    if kind is None:
        return None
    model, missing = _build(source, config, kind, trust_remote_code)
    return None if missing else LanguageModel(model, kind)


def fresh_language_model(source: ModelSource, *, trust_remote_code: bool = False) -> LanguageModel:
    """The language model at `source`, with a new head where it has none.

    The new head's output matrix is the model's embedding table. Its other weights draw from torch's global random
    stream: seed it before.

    Args:
        source: from `resolve_model`.
        trust_remote_code: run Python code that comes with the model.

    Raises:
        ModelError: the model cannot be found or read, its weights are damaged, or its architecture has no
            language-model head.
    """
    config = _config(source, trust_remote_code)
    kind = _kind(config)
    if kind is None:
        raise ModelError(
            f"The model {source.name!r} ({config.model_type}) has no masked or causal language-model head.",
            remedy="Choose an encoder or a decoder of text with --model, or switch off replay in the recipe's section "
            "`forgetting`.",
        )
    model, missing = _build(source, config, kind, trust_remote_code)
    if missing and not config.tie_word_embeddings:
        config.tie_word_embeddings = True
        model, missing = _build(source, config, kind, trust_remote_code)
    return LanguageModel(model, kind, fresh=bool(missing))


def share_backbone(language_model: LanguageModel, classifier: PreTrainedModel) -> LanguageModel:
    """Make the language model compute with the modules of `classifier` below its head; nothing is copied.

    The language model is changed in place. Its head goes to the classifier's device, and its tied matrices become the
    classifier's embedding table, grown with the classifier's vocabulary. Whether modules are in training mode and
    parameters train stays as it is: below the head, that is the classifier's state.

    Args:
        language_model: from `load_language_model` or `fresh_language_model`.
        classifier: a model of the same architecture; a plain one, not wrapped for several devices.

    Returns:
        `language_model`.

    Raises:
        ModelError: the architectures differ, or adapters stand in the place of the embedding table.
    """
    model = language_model.model
    prefix = model.base_model_prefix
    backbone = getattr(classifier, prefix, None)
    if model.config.model_type != getattr(classifier.config, "model_type", None) or backbone is None:
        raise ModelError(
            f"A language-model head of {model.config.model_type} does not fit a model of class "
            f"{type(classifier).__name__}.",
            remedy="Read both from the same pretrained model.",
        )
    _resize_head(language_model, _vocabulary_rows(classifier))
    setattr(model, prefix, backbone)
    try:
        # Not recomputed: where the checkpoint holds a matrix of its own in spite of its configuration, it stays.
        model.tie_weights(recompute_mapping=False)
    except AttributeError as error:
        raise ModelError(
            "The language-model head reads the embedding table, which an adapter has replaced.",
            remedy="Leave the embeddings out of the adapter's target modules.",
        ) from error
    model.to(next(backbone.parameters()).device)
    return language_model


def mask_tokens(
    input_ids: torch.Tensor,
    special_mask: torch.Tensor,
    tokenizer: Any,
    generator: torch.Generator,
    probability: float = MASKING_PROBABILITY,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose tokens to predict: 80 % of them become the mask token, 10 % a random token, 10 % stay (BERT).

    Args:
        input_ids: token ids, int64 `[batch, seq]`; not changed.
        special_mask: True on tokens that are never chosen (special tokens and padding), bool `[batch, seq]`.
        tokenizer: names the mask token and the number of tokens.
        generator: source of randomness, on the CPU.
        probability: chance of each token to be chosen.

    Returns:
        The changed ids, and the labels: the original id of chosen tokens and `IGNORED` elsewhere. Both int64
        `[batch, seq]`. An empty batch gives empty ones.

    Raises:
        ModelError: the tokenizer has no mask token.
    """
    import torch

    refuse_without_mask_token(tokenizer)
    shape, device = input_ids.shape, input_ids.device
    draw = torch.rand((2, *shape), generator=generator).to(device)
    words = torch.randint(len(tokenizer), shape, generator=generator).to(device)
    chosen = (draw[0] < probability) & ~special_mask.bool()
    labels = torch.where(chosen, input_ids, IGNORED)
    inputs = torch.where(chosen & (draw[1] < _MASKED_SHARE), tokenizer.mask_token_id, input_ids)
    replaced = chosen & (draw[1] >= _MASKED_SHARE) & (draw[1] < _MASKED_SHARE + _RANDOM_SHARE)
    return torch.where(replaced, words, inputs), labels


def refuse_without_mask_token(tokenizer: Any) -> None:
    """See that masked language modelling has a token to mask with.

    Raises:
        ModelError: the tokenizer has no mask token.
    """
    if tokenizer.mask_token_id is None:
        raise ModelError(
            "The tokenizer of the model has no mask token, so that no masked language-model loss can be computed.",
            remedy="Copy the tokenizer's files that belong to the model, with mask_token in tokenizer_config.json.",
        )


def causal_labels(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Labels of causal language modelling: every token but padding and each row's first; int64 `[batch, seq]`.

    Args:
        input_ids: token ids, int64 `[batch, seq]`.
        attention_mask: 1 on tokens, 0 on padding, on either side, `[batch, seq]`.
    """
    import torch

    real = attention_mask.bool()
    before = torch.cat([torch.zeros_like(real[:, :1]), real[:, :-1]], dim=1)
    return torch.where(real & before, input_ids, IGNORED)


def language_model_loss(
    model: PreTrainedModel,
    kind: Kind,
    inputs: Mapping[str, torch.Tensor],
    labels: torch.Tensor,
    *,
    num_tokens: int | None = None,
) -> tuple[torch.Tensor, int]:
    """Cross-entropy in nats summed over the labelled tokens, in float32, and the number of these tokens.

    Without labelled tokens it is 0 and has no influence on gradients. Arguments are those of `token_losses`.
    """
    losses, _ = token_losses(model, kind, inputs, labels, num_tokens=num_tokens)
    return losses.sum(), len(losses)


def token_losses(
    model: PreTrainedModel,
    kind: Kind,
    inputs: Mapping[str, torch.Tensor],
    labels: torch.Tensor,
    *,
    num_tokens: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of every labelled token, in nats.

    The head computes only where a loss is taken, which saves most of its work with masked tokens.

    Args:
        model: a language model.
        kind: what its head predicts: the token itself (`masked`) or the next one (`causal`).
        inputs: keyword arguments of its forward: `input_ids`, `attention_mask`, …, each `[batch, seq]`.
        labels: the id to predict of each token, `IGNORED` where none is; not shifted, as `mask_tokens` and
            `causal_labels` give them. Int64 `[batch, seq]`.
        num_tokens: judge among the first so many tokens of the vocabulary alone; all when None.

    Returns:
        The losses, float32 `[tokens]`, row by row, and the row of each, int64 `[tokens]`.
    """
    import torch
    import torch.nn.functional as functional

    if kind == "causal":
        labels = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], IGNORED)], dim=1)
    wanted = labels != IGNORED
    options = {"use_cache": False} if kind == "causal" else {}
    with _head_only_at(model.base_model, wanted):
        logits = model(**inputs, **options).logits
    # Logits of every token where the hook found nothing to cut.
    logits = (logits[wanted] if logits.shape[:2] == wanted.shape else logits[0]).float()
    if num_tokens is not None:
        logits = logits[:, :num_tokens]
    return functional.cross_entropy(logits, labels[wanted], reduction="none"), wanted.nonzero()[:, 0]


@contextmanager
def _head_only_at(backbone: nn.Module, wanted: torch.Tensor) -> Iterator[None]:
    """Hand the head the hidden states of the tokens in `wanted` alone, as one row `[1, tokens, hidden]`."""

    def gather(module: nn.Module, args: Any, output: Any) -> Any:
        hidden = getattr(output, "last_hidden_state", None)
        if hidden is not None and hidden.shape[:2] == wanted.shape:
            output["last_hidden_state"] = hidden[wanted].unsqueeze(0)
        return output

    handle = backbone.register_forward_hook(gather)
    try:
        yield
    finally:
        handle.remove()


def _vocabulary_rows(model: PreTrainedModel) -> int:
    return len(cast("nn.Embedding", model.get_input_embeddings()).weight)


def _resize_head(language_model: LanguageModel, rows: int) -> None:
    """Cut or grow what the head holds for each token to `rows`; new rows are the mean of those there.

    transformers' own resizing would change the embedding table too, which may be that of an earlier classifier.
    """
    import torch
    from torch import nn

    model = language_model.model
    before = _vocabulary_rows(model)
    if rows == before:
        return
    for parameter in language_model.head_parameters.values():
        if len(parameter) != before:
            continue
        values = parameter.detach()
        mean = values.mean(dim=0, keepdim=True).expand(max(0, rows - before), *values.shape[1:])
        resized = nn.Parameter(torch.cat([values[:rows], mean]), requires_grad=parameter.requires_grad)
        for module in model.modules():
            for field, held in module.named_parameters(recurse=False):
                # A bias may stand in two modules.
                if held is parameter:
                    setattr(module, field, resized)
                    if isinstance(module, nn.Linear):
                        module.out_features = rows
    model.config.vocab_size = rows


def _config(source: ModelSource, trust_remote_code: bool) -> PreTrainedConfig:
    directory = local_directory(source, weights=False, trust_remote_code=trust_remote_code)
    return load_config(source, directory, trust_remote_code=trust_remote_code)


def _kind(config: PreTrainedConfig) -> Kind | None:
    """The pretraining objective that the architecture has a head for."""
    import transformers

    if getattr(config, "is_encoder_decoder", False):
        return None
    remote = getattr(config, "auto_map", None) or {}
    # Encoders are listed as causal models too, for use as a decoder, which only their configuration tells.
    kinds: tuple[Kind, ...] = ("causal", "masked") if getattr(config, "is_decoder", False) else ("masked", "causal")
    for kind in kinds:
        if _AUTO_CLASSES[kind] in remote or type(config) in getattr(transformers, _AUTO_CLASSES[kind])._model_mapping:
            return kind
    return None


def _build(
    source: ModelSource, config: PreTrainedConfig, kind: Kind, trust_remote_code: bool
) -> tuple[PreTrainedModel, list[str]]:
    """The model, and the weights that the checkpoint lacks or has in another shape."""
    directory = local_directory(source, trust_remote_code=trust_remote_code)
    check_weights(directory)
    model, info = build_model(source, directory, config, _AUTO_CLASSES[kind], trust_remote_code)
    missing = set(info["missing_keys"]) | {name for name, _, _ in info["mismatched_keys"]}
    return model.eval(), sorted(missing)
