"""What a tokenizer makes of the texts: lengths against the model's maximum, and the share of unknown tokens.

A model knows nothing about a token outside its vocabulary but that it is unknown, so that a text in a script it never
saw becomes a row of the same symbol. Tokenizers on bytes (GPT-2, RoBERTa, Llama) have no unknown tokens.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trimtab.core.seeds import stream

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_ROWS = 20_000
BATCH_ROWS = 1_000
MAX_UNKNOWN_ROWS = 2_000
"""Most rows whose unknown pieces are looked up for `top_unknown`, and whose letters tell the script."""
TOP_UNKNOWN = 10

# First word of a character's Unicode name -> the script's usual name.
_SCRIPTS = {
    "CJK": "Han",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HALFWIDTH": "Japanese",
    "HANGUL": "Hangul",
}


@dataclass(frozen=True)
class TokenStatistics:
    """Token counts of a sample of rows.

    Args:
        rows: rows looked at, of `total_rows`; fewer when sampled.
        total_rows: rows there are.
        minimum, median, mean, p95, maximum: tokens a row, special tokens (`[CLS]`, `[SEP]`, …) included, both texts of
            a pair together; 0 without rows.
        max_length: most tokens that the model reads; None when unknown.
        share_longer: share of rows that are longer, and lose their end; None without `max_length`.
        tokens: all tokens but special ones.
        unknown: those of them that the tokenizer does not know.
        top_unknown: the most frequent characters or words that are unknown, with their counts.
        script: script of most of the unknown letters, of all letters when none is unknown (`Latin`, `Han`, `Cyrillic`,
            …); empty without letters.
    """

    rows: int
    total_rows: int
    minimum: int
    median: float
    mean: float
    p95: float
    maximum: int
    max_length: int | None
    share_longer: float | None
    tokens: int
    unknown: int
    top_unknown: tuple[tuple[str, int], ...]
    script: str

    @property
    def unknown_share(self) -> float:
        """Unknown tokens of all but special tokens; 0 when there are none."""
        return self.unknown / self.tokens if self.tokens else 0.0

    @property
    def sampled(self) -> bool:
        """Whether only a part of the rows was looked at."""
        return self.rows < self.total_rows


def token_statistics(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    *,
    pairs: Sequence[str] | None = None,
    seed: int = 0,
    max_rows: int = MAX_ROWS,
) -> TokenStatistics:
    """Count the tokens of up to `max_rows` rows, drawn at random.

    Args:
        texts: one text a row.
        tokenizer: tokenizer of the model; its truncation and padding are not applied.
        max_length: most tokens that the model reads, special ones included.
        pairs: the second text of each row, when rows are pairs.
        seed: seed of the sample.
        max_rows: most rows looked at.
    """
    rows = list(range(len(texts)))
    if len(texts) > max_rows:
        rows = sorted(stream(seed, "token statistics").choice(len(texts), size=max_rows, replace=False).tolist())
    sides = [[texts[row] for row in rows]]
    if pairs is not None:
        sides.append([pairs[row] for row in rows])

    lengths = np.full(len(rows), tokenizer.num_special_tokens_to_add(pair=len(sides) > 1), dtype=np.int64)
    unknown = 0
    pieces: Counter[str] = Counter()
    for side in sides:
        counts, unknown_counts = _count(side, tokenizer)
        lengths += counts
        unknown += int(unknown_counts.sum())
        affected = np.flatnonzero(unknown_counts)[:MAX_UNKNOWN_ROWS]
        pieces.update(_unknown_pieces([side[row] for row in affected], tokenizer))
    tokens = int(lengths.sum()) - len(rows) * tokenizer.num_special_tokens_to_add(pair=len(sides) > 1)
    script = _main_script(pieces) or _main_script(Counter("".join(sides[0][:MAX_UNKNOWN_ROWS])))
    return TokenStatistics(
        rows=len(rows),
        total_rows=len(texts),
        **_summary(lengths, max_length),
        tokens=tokens,
        unknown=unknown,
        top_unknown=tuple(pieces.most_common(TOP_UNKNOWN)),
        script=script,
    )


def _summary(lengths: npt.NDArray[np.int64], max_length: int | None) -> dict[str, Any]:
    known = lengths if len(lengths) else np.zeros(1, dtype=np.int64)
    return {
        "minimum": int(known.min()),
        "median": float(np.median(known)),
        "mean": float(known.mean()),
        "p95": float(np.percentile(known, 95)),
        "maximum": int(known.max()),
        "max_length": max_length,
        "share_longer": None if max_length is None else float((known > max_length).mean()),
    }


def _encode(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, **options: Any) -> Any:
    # verbose=False: the tokenizer would warn of rows longer than the model's maximum, which the report counts.
    return tokenizer(
        list(texts),
        add_special_tokens=False,
        truncation=False,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
        **options,
    )


def _count(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Tokens and unknown tokens of each text, special tokens not counted."""
    unknown_id = tokenizer.unk_token_id
    counts, unknown = [], []
    for begin in range(0, len(texts), BATCH_ROWS):
        for ids in _encode(texts[begin : begin + BATCH_ROWS], tokenizer)["input_ids"]:
            counts.append(len(ids))
            unknown.append(0 if unknown_id is None else ids.count(unknown_id))
    return np.array(counts, dtype=np.int64), np.array(unknown, dtype=np.int64)


def _unknown_pieces(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Counter[str]:
    """The characters or words behind the unknown tokens, with counts."""
    pieces: Counter[str] = Counter()
    if not texts:
        return pieces
    if not tokenizer.is_fast:
        # A tokenizer in Python keeps no offsets; its words tell which of them it does not know.
        words = Counter(word for text in texts for word in text.split())
        encoded = _encode(list(words), tokenizer)["input_ids"]
        return Counter(
            {word: words[word] for word, ids in zip(words, encoded, strict=True) if tokenizer.unk_token_id in ids}
        )
    batch = _encode(texts, tokenizer, return_offsets_mapping=True)
    for text, ids, offsets in zip(texts, batch["input_ids"], batch["offset_mapping"], strict=True):
        pieces.update(
            text[begin:end].strip()
            for token, (begin, end) in zip(ids, offsets, strict=True)
            if token == tokenizer.unk_token_id
        )
    pieces.pop("", None)
    return pieces


def _main_script(pieces: Counter[str]) -> str:
    """The script of most letters; Japanese when at least a tenth of the letters are kana."""
    letters: Counter[str] = Counter()
    for piece, count in pieces.items():
        for character in piece:
            if character.isalpha():
                letters[character] += count
    scripts: Counter[str] = Counter()
    for character, count in letters.items():
        first = unicodedata.name(character, "").split(" ")[0].split("-")[0]
        scripts[_SCRIPTS.get(first, first.capitalize())] += count
    if scripts["Japanese"] * 10 >= scripts.total() > 0:
        return "Japanese"
    return scripts.most_common(1)[0][0] if scripts.total() else ""
