"""A text cut into the pieces that are left out one by one, to see what a prediction rests on."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Scripts without spaces: kana, Chinese characters with their extensions and compatibility forms.
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_PIECE = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
# Beyond these, neighbours are left out together: each piece costs one prediction.
MOST_CHARACTERS = 48
MOST_PIECES = 160


@dataclass(frozen=True)
class Piece:
    """A stretch of a text.

    Args:
        start, end: where it stands, in characters.
    """

    start: int
    end: int


def pieces_of(text: str) -> list[Piece]:
    """Words at spaces; Chinese characters and kana one by one, in long texts by twos.

    Texts of very many pieces are cut into `MOST_PIECES` stretches of neighbours.
    """
    found = [Piece(match.start(), match.end()) for match in _PIECE.finditer(text)]
    if sum(_is_unspaced(text[piece.start]) for piece in found) > MOST_CHARACTERS:
        found = _paired(text, found)
    if len(found) <= MOST_PIECES:
        return found
    size = -(-len(found) // MOST_PIECES)
    groups = [found[first : first + size] for first in range(0, len(found), size)]
    return [Piece(group[0].start, group[-1].end) for group in groups]


def _paired(text: str, pieces: list[Piece]) -> list[Piece]:
    """Join characters that stand side by side, two and two."""
    joined: list[Piece] = []
    open_pair = False
    for piece in pieces:
        character = piece.end - piece.start == 1 and _is_unspaced(text[piece.start])
        if open_pair and character and joined[-1].end == piece.start:
            joined[-1] = Piece(joined[-1].start, piece.end)
            open_pair = False
        else:
            joined.append(piece)
            open_pair = character
    return joined


def _is_unspaced(character: str) -> bool:
    return re.match(rf"[{_UNSPACED}]", character) is not None


def without(text: str, piece: Piece) -> str:
    """The text without a piece; of the spaces around it, one stays."""
    before, after = text[: piece.start], text[piece.end :]
    if before[-1:].isspace() and (not after or after[0].isspace()):
        before = before.rstrip()
    return (before if before else "") + (after if before else after.lstrip())
