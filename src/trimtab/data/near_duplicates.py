"""Nearly equal texts: all pairs whose sets of shingles have a Jaccard similarity of at least 0.8.

The search is exact (prefix filtering, Bayardo et al. 2007, "Scaling up all pairs similarity search"): if two sets of
sizes a and b overlap in a share of at least t, then the rarest `a - ceil(t·a) + 1` members of the one and the rarest
`b - ceil(t·b) + 1` of the other have a member in common. An inverted index over these few rare shingles gives the
candidates, and each candidate's similarity is then counted. It is whole-array arithmetic throughout: as fast as MinHash
signatures with locality-sensitive hashing on short texts, and it misses nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

THRESHOLD = 0.8
MIN_WORDS = 3
"""Texts of one or two words are compared for equality only."""
WORD_SHINGLE = 3
CHARACTER_SHINGLE = 4
UNSPACED_SHINGLE = 2
SHORT_WORDS = 30
"""One changed word leaves (n - 5) / (n + 1) of the 3-word shingles of n words in common: 0.8 needs n of 29 or more.
Shorter texts are therefore compared by characters."""
OVERLAP_WORDS = 38
"""Texts of `SHORT_WORDS` to here are compared both ways, so that a pair on two sides of the border is seen."""
MAX_CHARACTERS = 4_000
"""Longer texts are compared by this much of their beginning."""
MAX_CANDIDATES = 20_000_000
"""Most pairs looked at. Texts from a template share their rare shingles with thousands; those nearest in length are
compared first."""
CHUNK_SHINGLES = 8_000_000

Ints = npt.NDArray[np.int64]
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
_MIXERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5], dtype=np.uint64)


@dataclass(frozen=True)
class NearPairs:
    """Pairs of nearly equal texts.

    Args:
        first, second: positions in the searched list, `[pairs]`; first < second, pairs sorted.
        complete: False when `MAX_CANDIDATES` ended the search, so that there may be more pairs.
    """

    first: Ints
    second: Ints
    complete: bool


def near_pairs(texts: Sequence[str]) -> NearPairs:
    """All pairs of texts with a similarity of at least `THRESHOLD`.

    Args:
        texts: normalised texts (see `duplicates.normalise`), all different. Empty and very short ones match nothing.
    """
    clipped = [text[:MAX_CHARACTERS] for text in texts]
    words = [text.split() for text in clipped]
    unspaced = np.fromiter((_is_unspaced(text) for text in clipped), dtype=bool, count=len(texts))
    counts = np.fromiter((len(parts) for parts in words), dtype=np.int64, count=len(texts))
    counts[unspaced] = [len(clipped[row]) // 2 for row in np.flatnonzero(unspaced)]
    by_words = np.flatnonzero(~unspaced & (counts >= SHORT_WORDS))
    by_characters = np.flatnonzero(~unspaced & (counts >= MIN_WORDS) & (counts <= OVERLAP_WORDS))
    by_bigrams = np.flatnonzero(unspaced & (counts >= MIN_WORDS))

    found = [
        _search(by_words, _word_codes([words[row] for row in by_words]), WORD_SHINGLE),
        _search(by_characters, [_character_codes(clipped[row]) for row in by_characters], CHARACTER_SHINGLE),
        _search(by_bigrams, [_character_codes(clipped[row]) for row in by_bigrams], UNSPACED_SHINGLE),
    ]
    keys = _distinct(np.concatenate([keys for keys, _ in found]))
    return NearPairs(keys >> 32, keys & 0xFFFFFFFF, all(complete for _, complete in found))


def shingle_estimate(text: str) -> int:
    """About how many shingles `near_pairs` makes of a text: what bounds its memory (some 200 bytes each)."""
    length = min(len(text), MAX_CHARACTERS)
    spaces = text.count(" ", 0, MAX_CHARACTERS)
    return length if spaces < SHORT_WORDS else min(length, spaces)


def _is_unspaced(text: str) -> bool:
    """Whether the text is written without spaces between words (Chinese, Japanese, Thai, …), by half of its letters."""
    if text.isascii():
        return False
    letters = [character for character in text if character.isalpha()]
    unspaced = sum(is_unspaced_letter(character) for character in letters)
    return 2 * unspaced > len(letters)


def is_unspaced_letter(character: str) -> bool:
    """Whether a letter belongs to a script that does not put spaces between words."""
    return character >= "\u0e00" and unicodedata.name(character, "").startswith(_UNSPACED)


def _word_codes(texts: Sequence[Sequence[str]]) -> list[npt.NDArray[np.uint64]]:
    numbers: dict[str, int] = {}
    return [np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=np.uint64) for words in texts]


def _character_codes(text: str) -> npt.NDArray[np.uint64]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)


def _search(rows: Ints, codes: list[npt.NDArray[np.uint64]], size: int) -> tuple[Ints, bool]:
    """Pairs of `rows` as keys `first << 32 | second`, and whether the search was complete."""
    if len(rows) < 2:
        return np.empty(0, dtype=np.int64), True
    owner, shingle = _shingle_sets(codes, size)
    lengths = np.bincount(owner, minlength=len(rows))
    owner, shingle = _rarest_first(owner, shingle)
    keys, complete = _candidates(owner, shingle, lengths)
    kept = _verified(keys, owner, shingle, lengths)
    # Rows were given in rising order, so that the first of a pair stays the first.
    return rows[kept >> 32] << 32 | rows[kept & 0xFFFFFFFF], complete


def _shingle_sets(codes: list[npt.NDArray[np.uint64]], size: int) -> tuple[Ints, Ints]:
    """The distinct shingles of each text: owners `[n]` (rising) and shingle numbers `[n]`."""
    lengths = np.array([len(code) for code in codes])
    flat = np.concatenate(codes)
    owner = np.repeat(np.arange(len(codes)), lengths)
    count = len(flat) - size + 1
    with np.errstate(over="ignore"):
        hashed = np.zeros(count, dtype=np.uint64)
        for offset in range(size):
            hashed = (hashed ^ (flat[offset : offset + count] + np.uint64(1)) * _MIXERS[offset]) * _MIXERS[0]
            hashed ^= hashed >> np.uint64(29)
    inside = owner[:count] == owner[size - 1 :]
    owner, hashed = owner[:count][inside], hashed[inside]
    order = np.argsort(hashed)
    hashed = hashed[order]
    shingle = np.empty(len(hashed), dtype=np.int64)
    shingle[order] = np.cumsum(np.concatenate(([False], hashed[1:] != hashed[:-1])))
    distinct = _distinct(owner << 32 | shingle)
    return distinct >> 32, distinct & 0xFFFFFFFF


def _distinct(values: Ints) -> Ints:
    """Sorted distinct values: sorting beats the hash table of `np.unique` on millions of them."""
    ordered = np.sort(values)
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))] if len(ordered) else ordered


def _rarest_first(owner: Ints, shingle: Ints) -> tuple[Ints, Ints]:
    """Renumber shingles from the rarest to the most frequent, and sort each text's by that number."""
    frequency = np.bincount(shingle)
    rank = np.empty(len(frequency), dtype=np.int64)
    rank[np.argsort(frequency, kind="stable")] = np.arange(len(frequency))
    ordered = np.sort(owner << 32 | rank[shingle])
    return ordered >> 32, ordered & 0xFFFFFFFF


def _candidates(owner: Ints, shingle: Ints, lengths: Ints) -> tuple[Ints, bool]:
    """Pairs that share a prefix shingle and whose sizes allow the threshold, as sorted keys, and whether all are in."""
    starts = np.cumsum(lengths) - lengths
    prefix = lengths - np.ceil(THRESHOLD * lengths - 1e-9).astype(np.int64) + 1
    within = np.arange(len(owner)) - starts[owner] < prefix[owner]
    owner, shingle = owner[within], shingle[within]
    order = np.lexsort((owner, lengths[owner], shingle))
    owner, shingle = owner[order], shingle[order]
    size = lengths[owner]

    active = np.arange(len(owner) - 1)
    found: list[Ints] = [np.empty(0, dtype=np.int64)]
    total, distance = 0, 1
    while len(active) and total < MAX_CANDIDATES:
        active = active[active + distance < len(owner)]
        other = active + distance
        # Sizes rise along a posting, so that a row whose neighbour is too long has no partner further on either.
        alive = (shingle[active] == shingle[other]) & (size[active] >= THRESHOLD * size[other] - 1e-9)
        active, other = active[alive], other[alive]
        low, high = np.minimum(owner[active], owner[other]), np.maximum(owner[active], owner[other])
        found.append(low << 32 | high)
        total += len(active)
        distance += 1
    return _distinct(np.concatenate(found)), not len(active)


def _verified(keys: Ints, owner: Ints, shingle: Ints, lengths: Ints) -> Ints:
    """The pairs whose Jaccard similarity reaches the threshold."""
    ends = np.concatenate(([0], np.cumsum(lengths)))
    shape = (len(lengths), int(shingle.max()) + 1)
    table = csr_array((np.ones(len(owner), dtype=np.int32), shingle, ends), shape=shape)
    kept: list[Ints] = [np.empty(0, dtype=np.int64)]
    pairs = max(1, CHUNK_SHINGLES // int(lengths.mean()))
    for begin in range(0, len(keys), pairs):
        chunk = keys[begin : begin + pairs]
        first, second = chunk >> 32, chunk & 0xFFFFFFFF
        shared = np.asarray(table[first].multiply(table[second]).sum(axis=1)).reshape(-1)
        union = lengths[first] + lengths[second] - shared
        kept.append(chunk[shared >= THRESHOLD * union - 1e-9])
    return np.concatenate(kept)


def text_similarity(first: str, second: str) -> float:
    """Jaccard similarity of the character shingles of two normalised texts; 0 where one has under `MIN_WORDS` words."""
    unspaced = _is_unspaced(first)
    size = UNSPACED_SHINGLE if unspaced else CHARACTER_SHINGLE
    sets = []
    for text in (first[:MAX_CHARACTERS], second[:MAX_CHARACTERS]):
        if (len(text) // 2 if unspaced else len(text.split())) < MIN_WORDS:
            return 0.0
        sets.append({text[start : start + size] for start in range(len(text) - size + 1)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])
