"""Typing errors: neighbouring keys, lost letters, letters in the wrong order.

The kinds of noise are those of Belinkov & Bisk 2018 (arXiv 1711.02173) that need no list of real errors.
"""

from __future__ import annotations

import numpy as np

from trimtab.data.augmentation.edits import count_of
from trimtab.data.augmentation.words import UNSPACED, WORD, Pieces

# Rows of a QWERTY keyboard, each with how far it is moved to the right, in keys.
_ROWS = (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75))
_REACH = 1.3
"""Distance in keys up to which two keys are neighbours: those that touch."""


def _neighbours() -> dict[str, str]:
    keys = {key: (column + shift, row) for row, (line, shift) in enumerate(_ROWS) for column, key in enumerate(line)}
    return {
        key: "".join(
            other
            for other, (column, row) in keys.items()
            if other != key and (column - x) ** 2 + (row - y) ** 2 <= _REACH**2
        )
        for key, (x, y) in keys.items()
    }


QWERTY = _neighbours()
"""Each Latin letter with the letters on the keys around it."""


def mistype(pieces: Pieces, rate: float, rng: np.random.Generator) -> str:
    """Mistype a share of the letters of a text.

    A Latin letter becomes one of its neighbours on the keyboard, gets one beside it, is lost, or changes places with
    the letter after it, each equally often. Other letters (Cyrillic, Chinese characters, …) are lost or change places.
    No word between spaces vanishes, and no text.

    Args:
        pieces: the text; numbers, links and kept words stay as they are.
        rate: share of the letters, at least one.
        rng: where the choices come from.
    """
    writing = _Writing(pieces)
    places = writing.places()
    if not places:
        return "".join(pieces.texts)
    count = min(len(places), count_of(len(places), rate, rng))
    chosen = rng.choice(len(places), size=count, replace=False).tolist()
    # From the end, so that the positions before stay right.
    for piece, at in sorted((places[index] for index in chosen), reverse=True):
        writing.mistype(piece, at, rng)
    return "".join(writing.texts)


class _Writing:
    """The pieces of a text while they are mistyped."""

    def __init__(self, pieces: Pieces) -> None:
        self.texts = list(pieces.texts)
        self.kinds = pieces.kinds
        self.open = {index for index in pieces.free if pieces.kinds[index] in (WORD, UNSPACED)}
        self.left = len(pieces.words)

    def places(self) -> list[tuple[int, int]]:
        """Every letter that may be mistyped, as piece and position in it."""
        return [(piece, at) for piece in sorted(self.open) for at, c in enumerate(self.texts[piece]) if c.isalpha()]

    def mistype(self, piece: int, at: int, rng: np.random.Generator) -> None:
        """Mistype one letter, in a way drawn at random; where that way is barred, in another."""
        latin = self.texts[piece][at].lower() in QWERTY
        ways = [self._replace, self._insert, self._lose, self._turn] if latin else [self._lose, self._turn]
        for way in rng.permutation(len(ways)).tolist():
            if ways[way](piece, at, rng):
                return

    def _replace(self, piece: int, at: int, rng: np.random.Generator) -> bool:
        self._put(piece, at, at + 1, _near(self.texts[piece][at], rng))
        return True

    def _insert(self, piece: int, at: int, rng: np.random.Generator) -> bool:
        text = self.texts[piece]
        letter = _near(text[at], rng)
        self._put(piece, at + 1, at + 1, letter if text.isupper() else letter.lower())
        return True

    def _lose(self, piece: int, at: int, rng: np.random.Generator) -> bool:
        alone = len(self.texts[piece]) == 1
        if alone and (self.kinds[piece] != UNSPACED or self.left <= 1):
            return False
        self.left -= alone
        self._put(piece, at, at + 1, "")
        return True

    def _turn(self, piece: int, at: int, rng: np.random.Generator) -> bool:
        """Exchange a letter and the next one, which may stand in the next piece of an unspaced script."""
        text = self.texts[piece]
        if at + 1 < len(text):
            one, other = text[at], text[at + 1]
            if other.isalpha() and one.lower() != other.lower():
                self._put(piece, at, at + 2, _cased(other, one) + _cased(one, other))
                return True
            return False
        after = piece + 1
        if self.kinds[piece] != UNSPACED or after not in self.open or self.kinds[after] != UNSPACED:
            return False
        if not self.texts[after] or self.texts[after] == text:
            return False
        self.texts[piece], self.texts[after] = self.texts[after], text
        return True

    def _put(self, piece: int, start: int, end: int, letters: str) -> None:
        text = self.texts[piece]
        self.texts[piece] = text[:start] + letters + text[end:]


def _near(letter: str, rng: np.random.Generator) -> str:
    choices = QWERTY[letter.lower()]
    return _cased(choices[int(rng.integers(len(choices)))], letter)


def _cased(letter: str, model: str) -> str:
    return letter.upper() if model.isupper() else letter.lower()
