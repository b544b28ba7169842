"""What stands before the model: the tokenizer of a text model, the image processor of an image model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trimtab.core.errors import ModelError
from trimtab.core.optional import require
from trimtab.models.hub import local_directory
from trimtab.models.quiet import quiet_transformers, reason_of
from trimtab.models.sources import ModelSource

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Modality = Literal["text", "image"]

DEFAULT_MAX_LENGTH = 512
# Tokenizers without a limit of their own say 1e30.
_SANE_LENGTH = 1_000_000
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken", "tekken.json", "bpe.codes")
_IMAGE_FILES = ("preprocessor_config.json", "processor_config.json")
# Their positions start after the padding index, so that this many rows of the position table serve no token.
_OFFSET_POSITIONS = {
    "camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
    "xlm-roberta-xl", "xmod",
}  # fmt: skip


def load_processor(source: ModelSource, modality: Modality, *, trust_remote_code: bool = False) -> Any:
    """Load the tokenizer (`text`) or the image processor (`image`) of a model; no weights are read.

    A tokenizer without a padding token (GPT-2, Llama) pads with its end-of-text token.

    Raises:
        ModelError: the model brings no such processor, or a damaged one.
        MissingDependencyError: Pillow is not installed (`image`).
    """
    directory = local_directory(source, weights=False, trust_remote_code=trust_remote_code)
    if modality == "image":
        return _load_image_processor(source, directory, trust_remote_code)
    return _load_tokenizer(source, directory, trust_remote_code)


def _load_tokenizer(source: ModelSource, directory: Path, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    # Without a vocabulary transformers builds an empty tokenizer, to which every word is unknown.
    if not trust_remote_code and not any(any(directory.glob(pattern)) for pattern in _VOCABULARIES):
        raise ModelError(
            f"The model {source.name!r} brings no tokenizer: {directory} has no vocabulary (tokenizer.json, "
            "vocab.txt, …).",
            remedy="Copy the tokenizer's files of the model there, or choose a text model with --model.",
        )
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=trust_remote_code)
    except Exception as error:
        # The tokenizers library raises plain exceptions on damaged files.
        raise _unusable("tokenizer", source, directory, error) from error
    if tokenizer.pad_token is None:
        substitute = tokenizer.eos_token or tokenizer.unk_token
        if substitute is None:
            raise ModelError(
                f"The tokenizer of the model {source.name!r} has no token to pad with (no pad, eos or unk token).",
                remedy="Choose another model with --model, or set pad_token in its tokenizer_config.json.",
            )
        tokenizer.pad_token = substitute
    return tokenizer


def _load_image_processor(source: ModelSource, directory: Path, trust_remote_code: bool) -> Any:
    require("PIL.Image", extra="vision", purpose="read images")
    from transformers import AutoImageProcessor

    if not any((directory / name).is_file() for name in _IMAGE_FILES):
        raise ModelError(
            f"The model {source.name!r} brings no image processor: {directory} has no {_IMAGE_FILES[0]}.",
            remedy="Copy that file of the model there, or choose an image model with --model.",
        )
    try:
        with quiet_transformers():
            return AutoImageProcessor.from_pretrained(directory, backend="pil", trust_remote_code=trust_remote_code)
    except Exception as error:
        # Image processors of foreign models fail in as many ways as tokenizers.
        raise _unusable("image processor", source, directory, error) from error


def _unusable(what: str, source: ModelSource, directory: Path, error: Exception) -> ModelError:
    return ModelError(
        f"The {what} of the model {source.name!r} in {directory} cannot be loaded: {reason_of(error)}.",
        remedy="Download or copy the model again, or choose another one with --model.",
    )


def check_vocabulary(source: ModelSource, tokenizer: Any, config: PreTrainedConfig) -> None:
    """Refuse a tokenizer that knows more tokens than the model has embeddings.

    Raises:
        ModelError: tokenizer and model do not belong together.
    """
    rows = getattr(config.get_text_config(), "vocab_size", None)
    if rows is not None and len(tokenizer) > rows:
        raise ModelError(
            f"The tokenizer of the model {source.name!r} has {len(tokenizer):,} tokens, and the model has embeddings "
            f"for {rows:,}: they do not belong together.",
            remedy="Copy the tokenizer's files that belong to the model.",
        )


def agree_on_padding(tokenizer: Any, config: PreTrainedConfig) -> None:
    """Tell the model which token pads: a decoder classifies by the last token that does not.

    Models that number positions from the padding index keep theirs; it is part of their weights.
    """
    if tokenizer.pad_token_id is not None and config.model_type not in _OFFSET_POSITIONS:
        config.pad_token_id = tokenizer.pad_token_id
        config.get_text_config().pad_token_id = tokenizer.pad_token_id


def max_length_of(processor: Any, config: PreTrainedConfig) -> int:
    """Most tokens that the model reads at once: the smaller of the tokenizer's and the model's limit.

    Models with relative positions alone (T5) have no limit of their own; without one from the tokenizer it is 512.
    """
    limits = []
    length = getattr(processor, "model_max_length", None)
    if length is not None and length < _SANE_LENGTH:
        limits.append(int(length))
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if isinstance(positions, int) and positions > 0:
        if config.model_type in _OFFSET_POSITIONS:
            positions -= (config.pad_token_id or 0) + 1
        limits.append(positions)
    return min(limits, default=DEFAULT_MAX_LENGTH)
