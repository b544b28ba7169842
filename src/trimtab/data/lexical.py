"""The units that plain text statistics count: words, or characters where words are not set apart by spaces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

WORD = r"(?u)\w+|[^\w\s]"
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
UNSPACED_SHARE = 0.2
SAMPLE = 1_000


def units(texts: Sequence[str], longest: int = 1) -> dict[str, Any]:
    """Arguments for scikit-learn's vectorizers that suit the script of the texts.

    Args:
        texts: n texts, looked at in even steps.
        longest: words of the longest unit; of texts without spaces (Chinese, Japanese, Thai, …), whose units are runs
            of characters, one more.
    """
    if is_unspaced(texts):
        return {"analyzer": "char", "ngram_range": (1, longest + 1)}
    return {"token_pattern": WORD, "ngram_range": (1, longest)}


def is_unspaced(texts: Sequence[str]) -> bool:
    """Whether at least a fifth of the characters belong to scripts that set no spaces between words."""
    sample = "".join(texts[:: max(1, len(texts) // SAMPLE)])
    return len(UNSPACED.findall(sample)) >= UNSPACED_SHARE * max(1, len(sample))
