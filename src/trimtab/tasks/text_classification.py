"""One label for a text, or for a pair of texts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import numpy as np
from pydantic import Field

from trimtab.config.plugins import PluginOptions
from trimtab.core.cache import row_keys
from trimtab.core.registry import TASKS
from trimtab.data.batching import Batch
from trimtab.data.token_store import Tokens, join_rows, stored_tokens
from trimtab.tasks.base import ClassificationTask, Examples, TaskContext, class_ids

if TYPE_CHECKING:
    import pandas as pd

# Rows tokenised by one call: large enough to keep the tokenizer's threads busy, small enough to bound memory.
ENCODE_ROWS = 4096


class TextClassificationOptions(PluginOptions):
    """Options of text classification."""

    max_length: Annotated[int, Field(ge=4)] | Literal["auto"] = Field(
        "auto", description="Tokens after which a text is cut; `auto` takes as many as the model reads."
    )


class TextExamples(Examples):
    """Token ids of many texts, end to end in one array.

    Args:
        ids: for each input name (`input_ids`, `token_type_ids`) the values of all rows end to end, `[tokens]`.
        offsets: where each row starts, `[rows + 1]`.
        labels: class ids, `[rows]`, or None.
        padding: value that pads each input name.
        pad_left: pad on the left, as the tokenizer says.
    """

    def __init__(
        self,
        ids: dict[str, np.ndarray],
        offsets: np.ndarray,
        labels: np.ndarray | None,
        padding: dict[str, int],
        pad_left: bool,
    ) -> None:
        self.ids = ids
        self.offsets = offsets
        self.labels = labels
        self.padding = padding
        self.pad_left = pad_left
        self.lengths = np.diff(offsets)

    def keys(self) -> np.ndarray:
        """A digest of each row's ids, `[rows]`."""
        names = sorted(self.ids)
        ids = np.stack([self.ids[name] for name in names], axis=1)
        return row_keys(ids[begin:end] for begin, end in itertools.pairwise(self.offsets))

    def collate(self, rows: np.ndarray) -> Batch:
        """Pad the rows to the longest of them; `attention_mask` is 1 on tokens and 0 on padding."""
        import torch

        lengths = self.lengths[rows]
        width = int(lengths.max())
        columns = np.arange(width)
        shift = width - lengths if self.pad_left else np.zeros_like(lengths)
        mask = (columns >= shift[:, None]) & (columns < (shift + lengths)[:, None])
        flat = np.concatenate([np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows])
        inputs = {"attention_mask": torch.from_numpy(mask.astype(np.int64))}
        for name, values in self.ids.items():
            padded = np.full((len(rows), width), self.padding[name], dtype=np.int64)
            padded[mask] = values[flat]
            inputs[name] = torch.from_numpy(padded)
        return Batch(
            inputs=inputs,
            labels=None if self.labels is None else torch.from_numpy(self.labels[rows]),
            tokens=int(lengths.sum()),
            padded_tokens=width * len(rows),
        )


@TASKS.register("text-classification")
class TextClassification(ClassificationTask):
    """Classification of a text or a pair of texts."""

    modality = "text"
    auto_class = "AutoModelForSequenceClassification"
    pipeline_name = "text-classification"
    Options: ClassVar[type[PluginOptions]] = TextClassificationOptions

    def encode(self, frame: pd.DataFrame, context: TaskContext) -> TextExamples:
        """Tokenise the texts, cutting each after `max_length` tokens.

        An empty frame gives no examples; a pair is cut from its longer text. Texts that were encoded before are read
        from the context's cache.
        """
        tokenizer, longest = context.processor, self.max_length(context)
        texts = frame["text"].tolist()
        pairs = frame["text_pair"].tolist() if "text_pair" in frame.columns else None
        tokens = stored_tokens(
            context.cache, tokenizer, texts, pairs, longest, lambda: tokenise(tokenizer, texts, pairs, longest)
        )
        padding = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
        return TextExamples(
            ids=tokens.ids,
            offsets=tokens.offsets,
            labels=class_ids(frame, self.labels),
            padding={name: padding.get(name, 0) for name in tokens.ids},
            pad_left=tokenizer.padding_side == "left",
        )

    def max_length(self, context: TaskContext) -> int:
        """Tokens after which a text is cut: the option, within what the model reads."""
        wanted = cast(TextClassificationOptions, self.options).max_length
        return context.max_length if wanted == "auto" else min(wanted, context.max_length)


def tokenise(tokenizer: Any, texts: list[str], pairs: list[str] | None, max_length: int) -> Tokens:
    """Token ids of texts, each cut after `max_length` tokens; a pair is cut from its longer text."""
    chunks: dict[str, list[np.ndarray]] = {}
    lengths: list[int] = []
    # A tokenizer without special tokens makes none of some texts (of control characters, say); models need one.
    standins = (tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, 0)
    blank = {"input_ids": next(token for token in standins if token is not None)}
    for start in range(0, len(texts), ENCODE_ROWS):
        part = slice(start, start + ENCODE_ROWS)
        encoded = tokenizer(
            texts[part],
            None if pairs is None else pairs[part],
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
        )
        lengths.extend(max(1, len(ids)) for ids in encoded["input_ids"])
        for name, values in encoded.items():
            chunks.setdefault(name, []).append(join_rows([row or [blank.get(name, 0)] for row in values]))
    return Tokens(
        ids={name: np.concatenate(parts) for name, parts in chunks.items()},
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )
