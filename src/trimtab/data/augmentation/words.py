"""A text taken apart into words, spaces and punctuation, and put together again.

Words stand between spaces in most scripts. Chinese, kanji and hiragana, Thai, Lao, Khmer and Burmese write none: there
every character (with its vowel signs) is a word by itself, or the longest entry of a word list that begins with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

SPACE, PUNCTUATION, WORD, NUMBER, UNSPACED, FIXED = "space", "punctuation", "word", "number", "unspaced", "fixed"
_FREE = (WORD, NUMBER, UNSPACED)

# Katakana is left out: its runs are loan words, whole as they stand.
UNSPACED_RANGES = (
    "\u3005-\u3007\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003347f"
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"
)
NEGATIONS = frozenset(
    {"not", "no", "never", "none", "nobody", "nothing", "neither", "nor", "nowhere", "cannot", "without", "hardly"}
    | {"barely", "scarcely", "n't", "n’t", "dont", "cant", "wont", "isnt", "didnt", "doesnt", "wasnt"}
)
NEGATION_CHARACTERS = frozenset("不没沒無无未非别別莫勿否毋甭")
SEPARATORS = frozenset(",;:，、；：")
CLOSING = SEPARATORS | frozenset(".!?。！？…)]}）】》」』”%")
OPENING = frozenset("([{（【《「『“")
_ENDS = frozenset(".!?。！？…\n")


@dataclass(frozen=True)
class Pieces:
    """A text as pieces, in order; joined, they are the text.

    Args:
        texts: the pieces.
        kinds: of each piece: `space`, `punctuation`, `word`, `number`, `unspaced` (a word of a script without spaces)
            or `fixed` (a link, an address, a tag, a short form like `'s`).
        kept: positions of words that must stay as they are.
    """

    texts: list[str]
    kinds: list[str]
    kept: frozenset[int] = frozenset()

    @property
    def words(self) -> list[int]:
        """Positions of all words, kept ones too."""
        return [index for index, kind in enumerate(self.kinds) if kind not in (SPACE, PUNCTUATION)]

    @property
    def free(self) -> list[int]:
        """Positions of the words that may be changed."""
        return [index for index, kind in enumerate(self.kinds) if kind in _FREE and index not in self.kept]

    @property
    def starts(self) -> set[int]:
        """Positions of the first word of each sentence."""
        found: set[int] = set()
        open_sentence = True
        for index, (text, kind) in enumerate(zip(self.texts, self.kinds, strict=True)):
            if kind in (SPACE, PUNCTUATION):
                open_sentence = open_sentence or any(character in _ENDS for character in text)
            elif open_sentence:
                found.add(index)
                open_sentence = False
        return found


@dataclass(frozen=True)
class Splitter:
    """Takes texts apart.

    Args:
        keep: words that must stay, in lower case.
        keep_negations: let words of negation stay too.
        lexicon: words of scripts without spaces, found by longest match.
    """

    keep: frozenset[str] = frozenset()
    keep_negations: bool = True
    lexicon: frozenset[str] = frozenset()

    def split(self, text: str) -> Pieces:
        """The pieces of a text."""
        texts: list[str] = []
        kinds: list[str] = []
        for match in _pattern().finditer(text):
            kind = match.lastgroup or PUNCTUATION
            parts = self._longest(match.group()) if kind == UNSPACED else [match.group()]
            texts.extend(parts)
            kinds.extend([kind] * len(parts))
        kept = frozenset(
            index
            for index, kind in enumerate(kinds)
            if kind in _FREE and (texts[index].lower() in self.keep or self._is_negation(texts[index]))
        )
        return Pieces(texts, kinds, kept)

    def _is_negation(self, word: str) -> bool:
        if not self.keep_negations:
            return False
        lower = word.lower()
        return lower in NEGATIONS or lower.endswith(("n't", "n’t")) or not NEGATION_CHARACTERS.isdisjoint(word)

    def _longest(self, run: str) -> list[str]:
        """A run of unspaced script cut into words: at each place the longest of the lexicon, else one character."""
        characters = _clusters().findall(run)
        if not self.lexicon:
            return characters
        longest = max(map(len, self.lexicon))
        parts: list[str] = []
        at = 0
        while at < len(characters):
            ends = range(min(len(characters), at + longest), at + 1, -1)
            end = next((end for end in ends if "".join(characters[at:end]) in self.lexicon), at + 1)
            parts.append("".join(characters[at:end]))
            at = end
        return parts


def is_unspaced(word: str) -> bool:
    """Whether a word is all in a script without spaces."""
    return bool(_only_unspaced().fullmatch(word))


def like_case(word: str, model: str) -> str:
    """`word` in the case of `model`: all capitals, a first capital, or as it is."""
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if is_title(model) else word


def is_title(word: str) -> bool:
    """Whether a word has a capital at its beginning and none after it."""
    return word[:1].isupper() and word[1:] == word[1:].lower()


def join_without(pieces: Pieces, dropped: Iterable[int]) -> str:
    """The text without some of its words, and without the spaces and commas that have lost their word.

    A capital that began a sentence passes to the word that begins it now.
    """
    gone = set(dropped)
    texts = _pass_capitals(pieces, gone)
    removed = gone | _orphans(pieces, gone)
    out: list[str] = []
    closes = False
    for index, text in enumerate(texts):
        if index in removed:
            closes = True
            continue
        before = out[-1] if out else ""
        blank = not before or before.isspace() or before in OPENING
        if closes and blank and pieces.kinds[index] == SPACE:
            continue
        if closes and before.isspace() and text in CLOSING and not _is_spaced(pieces, index):
            out.pop()
        closes = closes and pieces.kinds[index] == SPACE
        out.append(text)
    joined = "".join(out)
    if not pieces.texts[0].isspace():
        joined = joined.lstrip()
    return joined if pieces.texts[-1].isspace() else joined.rstrip()


def _is_spaced(pieces: Pieces, index: int) -> bool:
    """Whether a space stood before a piece in the text as it was."""
    return index > 0 and pieces.kinds[index - 1] == SPACE


def _pass_capitals(pieces: Pieces, gone: set[int]) -> list[str]:
    texts = list(pieces.texts)
    waiting = False
    starts = pieces.starts
    for index in pieces.words:
        if index in starts:
            waiting = False
        if index in gone:
            waiting = waiting or (index in starts and is_title(texts[index]))
        elif waiting:
            texts[index] = texts[index][:1].upper() + texts[index][1:]
            waiting = False
    return texts


def _orphans(pieces: Pieces, gone: set[int]) -> set[int]:
    """Separators that have no word left before them, or none between them and the end of the sentence."""
    orphans: set[int] = set()
    last: int | None = None  # the latest separator that stays
    had = has = False
    for index, (text, kind) in enumerate(zip(pieces.texts, pieces.kinds, strict=True)):
        if kind not in (SPACE, PUNCTUATION):
            had, has = True, has or index not in gone
        elif text in SEPARATORS:
            if had and not has:
                orphans.add(index)
            else:
                last = index
            had = has = False
        elif text in _ENDS:
            if had and not has and last is not None:
                orphans.add(last)
            last, had, has = None, False, False
    if had and not has and last is not None:
        orphans.add(last)
    return orphans


def swap_words(texts: Sequence[str], one: int, other: int, starts: set[int]) -> list[str]:
    """The pieces with two of them exchanged; a capital that only marks a sentence's beginning stays in its place."""
    swapped = list(texts)
    swapped[one], swapped[other] = texts[other], texts[one]
    for place, came in ((one, other), (other, one)):
        mover = texts[came]
        if came in starts and place not in starts and is_title(mover) and mover != "I":
            swapped[place] = mover[:1].lower() + mover[1:]
        elif place in starts and came not in starts and is_title(texts[place]):
            swapped[place] = mover[:1].upper() + mover[1:]
    return swapped


@cache
def _marks() -> str:
    """Every combining mark of the basic plane, as the inside of a character class: `\\w` leaves them out."""
    return "".join(chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code)).startswith("M"))


@cache
def _pattern() -> re.Pattern[str]:
    letter = rf"(?:[^\W_{UNSPACED_RANGES}]|[{_marks()}])"
    parts = {
        FIXED: r"(?:https?://|www\.)[!-~]+|[A-Za-z0-9_.+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|</?[A-Za-z][^<>]*>|[@#][A-Za-z0-9_]+"
        r"|['’](?:s|re|ve|ll|d|m|t)\b",
        NUMBER: rf"\d+(?:[.,:/]\d+)*(?!{letter})",
        UNSPACED: rf"[{UNSPACED_RANGES}][{UNSPACED_RANGES}{_marks()}]*",
        WORD: rf"{letter}+(?:['’_‐‑-]+{letter}+|\.\d+)*",
        SPACE: r"\s+",
        PUNCTUATION: r".",
    }
    return re.compile("|".join(f"(?P<{name}>{part})" for name, part in parts.items()), re.DOTALL | re.IGNORECASE)


@cache
def _clusters() -> re.Pattern[str]:
    return re.compile(rf".[{_marks()}]*", re.DOTALL)


@cache
def _only_unspaced() -> re.Pattern[str]:
    return re.compile(rf"[{UNSPACED_RANGES}][{UNSPACED_RANGES}{_marks()}]*")
