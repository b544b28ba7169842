"""Changes to the words of a text: drop, swap, replace by synonyms. Pure functions of the pieces and a generator.

The operations are those of EDA (Wei & Zou 2019, arXiv 1901.11196), whose rate is a share of the text's words and whose
least change is one word. EDA strips punctuation and capitals; here they stay.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trimtab.data.augmentation.words import NUMBER, UNSPACED, WORD, Pieces, join_without, like_case, swap_words

Synonyms = Mapping[str, tuple[str, ...]]
"""Word -> its synonyms."""


def count_of(total: int, rate: float, rng: np.random.Generator) -> int:
    """How many of `total` to change: `rate` of them on average, at least one (EDA's `max(1, …)`)."""
    whole, part = divmod(rate * total, 1.0)
    return max(1, int(whole) + int(rng.random() < part))


def drop_words(pieces: Pieces, rate: float, rng: np.random.Generator) -> str:
    """Remove a share of the words. One word always stays; a text of a single word is given back as it is.

    EDA removes each word with the probability `rate`; here their number is fixed, so that no text stays whole by
    chance.
    """
    words, free = pieces.words, pieces.free
    most = len(free) - (len(free) == len(words))
    count = min(most, count_of(len(words), rate, rng))
    if count < 1:
        return "".join(pieces.texts)
    return join_without(pieces, rng.choice(free, size=count, replace=False).tolist())


def shuffle_words(pieces: Pieces, rate: float, rng: np.random.Generator) -> str:
    """Swap pairs of words, `rate` pairs for each word of the text; no word moves twice.

    A word between spaces changes places with any other of the text, as in EDA; a character of a script without spaces
    with its neighbour, which leaves it readable.
    """
    texts = list(pieces.texts)
    waiting = set(pieces.free)
    starts = pieces.starts
    swaps = count_of(len(pieces.words), rate, rng)
    for one in rng.permutation(pieces.free).tolist():
        if one not in waiting:
            continue
        partners = _partners(pieces, one, waiting)
        if not partners:
            continue
        other = partners[int(rng.integers(len(partners)))]
        texts = swap_words(texts, one, other, starts)
        waiting -= {one, other}
        swaps -= 1
        if not swaps:
            break
    return "".join(texts)


def _partners(pieces: Pieces, one: int, waiting: set[int]) -> list[int]:
    """Positions that the word at `one` may change places with."""
    texts, kinds = pieces.texts, pieces.kinds
    if kinds[one] == UNSPACED:
        near = (other for other in (one - 1, one + 1) if other in waiting and kinds[other] == UNSPACED)
        return [other for other in near if texts[other] != texts[one]]
    spaced = (other for other in pieces.free if other in waiting and kinds[other] in (WORD, NUMBER))
    return [other for other in spaced if texts[other].lower() != texts[one].lower()]


def replace_words(pieces: Pieces, rate: float, rng: np.random.Generator, synonyms: Synonyms) -> str:
    """Replace a share of the words by one of their synonyms, in the same case; words without synonyms stay."""
    known = {index: found for index in pieces.free if (found := synonyms_of(pieces.texts[index], synonyms))}
    if not known:
        return "".join(pieces.texts)
    count = min(len(known), count_of(len(pieces.words), rate, rng))
    texts = list(pieces.texts)
    for index in rng.choice(list(known), size=count, replace=False).tolist():
        choices = known[index]
        texts[index] = choices[int(rng.integers(len(choices)))]
    return "".join(texts)


def synonyms_of(word: str, synonyms: Synonyms) -> tuple[str, ...]:
    """The synonyms of a word as it is written, else those of its lower case in the word's own case."""
    found = synonyms.get(word)
    if found is None:
        found = tuple(like_case(synonym, word) for synonym in synonyms.get(word.lower(), ()))
    return tuple(synonym for synonym in found if synonym.lower() != word.lower())
