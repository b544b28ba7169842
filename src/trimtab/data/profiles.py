"""What a column looks like: the few figures from which its use is inferred."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trimtab.core.errors import DataError
from trimtab.data.values import is_fraction, is_number, to_strings

SAMPLE_ROWS = 5000
MOST_CLASSES = 1000
LONGEST_LABEL = 40
SHORTEST_TEXT = 10.0
EXAMPLE_CHARACTERS = 50
# Words apart, or four letters of a script without spaces between words.
_PROSE = re.compile(r"\S\s+\S|(?:[\u0e00-\u0eff\u2e80-\u9fff\uac00-\ud7af][^\s]*?){4}")


@dataclass(frozen=True)
class Profile:
    """Figures of one column.

    Args:
        name: column name.
        kind: `string`, `number`, `nested` (lists, objects, bytes) or `empty`.
        filled: number of values that are not missing.
        distinct: number of different values, as they stand.
        mean_length: characters of a value, on average; letters of scripts without spaces count for three.
        prose: share of values with several words.
        digits: share of characters that are digits.
        fractional: share of values that are numbers and not whole.
        example: a value.
    """

    name: str
    kind: str
    filled: int
    distinct: int
    mean_length: float
    prose: float
    digits: float
    fractional: float
    example: str

    @property
    def looks_like_text(self) -> bool:
        """Whether the values are mostly distinct texts of several words."""
        varied = self.distinct > 0.5 * self.filled
        long = self.mean_length >= SHORTEST_TEXT and self.prose >= 0.5
        return self.kind == "string" and varied and long and self.digits < 0.3

    @property
    def looks_like_label(self) -> bool:
        """Whether the values are few, short, and repeat."""
        few = 2 <= self.distinct <= min(MOST_CLASSES, 0.5 * self.filled)
        return self.kind in ("string", "number") and few and self.mean_length <= LONGEST_LABEL and not self.fractional

    def described(self, role: str) -> str:
        """The column with an example, and with the number of classes where it may be a label."""
        classes = f"{self.distinct} classes, " if role == "label" else ""
        return f"{self.name!r} ({classes}for example {self.example!r})"


def profile(values: pd.Series, name: str) -> Profile:
    """Measure one column; texts are looked at in a sample of rows spread over the table."""
    step = max(1, len(values) // SAMPLE_ROWS)
    try:
        sample = to_strings(values.iloc[::step], name).dropna().tolist()
        distinct = int(values.nunique())
    except (DataError, TypeError):
        return Profile(name, "nested", int(values.notna().sum()), 0, 0.0, 0.0, 0.0, 0.0, str(values.iloc[0])[:50])
    if not sample:
        return Profile(name, "empty", 0, 0, 0.0, 0.0, 0.0, 0.0, "")
    text = "".join(sample)
    numbers = [word for word in sample if is_number(word)]
    return Profile(
        name=name,
        kind="number" if len(numbers) > 0.9 * len(sample) else "string",
        filled=int(values.notna().sum()),
        distinct=distinct,
        mean_length=(len(text) + 2 * sum(character >= "\u2e80" for character in text)) / len(sample),
        prose=float(np.mean([_PROSE.search(word) is not None for word in sample])),
        digits=sum(character.isdigit() for character in text) / max(1, len(text)),
        fractional=float(np.mean([is_fraction(word) for word in sample])),
        example=shortened(sample[0]),
    )


def shortened(text: str) -> str:
    """A text on one line, cut to the length of an example."""
    line = " ".join(text.split())
    return line if len(line) <= EXAMPLE_CHARACTERS else line[: EXAMPLE_CHARACTERS - 1] + "…"
