"""Where synonyms come from, offline: the user's word list, or the model's own table of input embeddings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.errors import DataError
from trimtab.data.augmentation.words import UNSPACED, WORD, Splitter, is_title, is_unspaced

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_NEIGHBOURS = 6
_CHUNK_WORDS = 512
_MOST_FAULTS = 5

# Words of grammar, whose neighbours are other words of grammar: never replaced out of the embeddings.
_GRAMMAR_WORDS = (
    "a about after all also although am among an and another any are as at be because been before being between both "
    "but by can could did do does doing down during each either else every few for from further had has have having he "
    "her here hers herself him himself his how however i if in into is it its itself just less many may me might mine "
    "more most much must my myself nor not of off on once one only onto or other our ours out over own per same shall "
    "she should since so some such than that the their theirs them then there these they this those though through to "
    "too under until up upon us very was we were what when where whether which while who whom whose why will with "
    "within would yet you your yours yourself zero two three four five six seven eight nine ten"
)
_GRAMMAR = frozenset(_GRAMMAR_WORDS.split()) | frozenset(
    "的地得了着过在是有和与及或而但也都就还又被把让对从到向以于之其这那此个们我你他她它一二三四五六七八九十"
)


def read_synonyms(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a word list: UTF-8, on each line a word, a tab, and its synonyms between commas (`,` or `，`).

    Empty lines and lines that begin with `#` are skipped; a word that comes twice has the synonyms of both lines. A
    word between spaces matches any case of its letters, unless the list has it in that very case too.

    Raises:
        DataError: there is no such file, it is not UTF-8, holds no synonym, or has lines of another form; the lines are
            named.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise DataError(
            f"augmentation.synonyms: the word list {path} cannot be read: {reason}.",
            remedy="Name a UTF-8 file with lines of word<TAB>synonym,synonym, or `embeddings`.",
        ) from error
    found: dict[str, list[str]] = {}
    faults: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        word, tab, rest = line.partition("\t")
        synonyms = [synonym.strip() for synonym in re.split(r"[,，\t]", rest) if synonym.strip()]
        fault = _fault_of(word.strip(), tab, synonyms)
        if fault:
            faults.append(f"line {number}: {fault}: {line.strip()[:60]!r}")
        else:
            found.setdefault(word.strip(), []).extend(synonyms)
    if faults or not found:
        more = [f"and {len(faults) - _MOST_FAULTS} more"] if len(faults) > _MOST_FAULTS else []
        raise DataError(
            f"augmentation.synonyms: the word list {path} {'has faults' if faults else 'is empty'}.",
            problems=[*faults[:_MOST_FAULTS], *more],
            remedy="Each line is word<TAB>synonym,synonym; lines that begin with # are comments.",
        )
    return {word: tuple(dict.fromkeys(synonyms)) for word, synonyms in found.items()}


def _fault_of(word: str, tab: str, synonyms: list[str]) -> str:
    """What is wrong with a line; empty when nothing is."""
    if not tab:
        return "no tab between the word and its synonyms"
    if not word or not synonyms:
        return "no word" if not word else "no synonym"
    if is_unspaced(word):
        return ""
    kinds = Splitter(keep_negations=False).split(word).kinds
    return "" if kinds == [WORD] else "not a single word, and only single words are looked up"


def lexicon_of(synonyms: Iterable[str]) -> frozenset[str]:
    """The words of several characters in scripts without spaces: what texts are cut by, longest match first."""
    return frozenset(word for word in synonyms if len(word) > 1 and is_unspaced(word))


def words_in(texts: Iterable[str], lexicon: frozenset[str] = frozenset()) -> set[str]:
    """Every word of the texts, as written and in lower case; scripts without spaces are cut by `lexicon`."""
    splitter = Splitter(keep_negations=False, lexicon=lexicon)
    found: set[str] = set()
    for text in texts:
        pieces = splitter.split(text)
        found.update(text for text, kind in zip(pieces.texts, pieces.kinds, strict=True) if kind in (WORD, UNSPACED))
    return found | {word.lower() for word in found}


def embedding_synonyms(
    words: Collection[str], tokenizer: PreTrainedTokenizerBase, vectors: np.ndarray, *, min_similarity: float
) -> dict[str, tuple[str, ...]]:
    """The nearest whole words of a model's vocabulary, by the cosine of their input embeddings.

    Only words that are one token take part, as word and as synonym, of the same script and the same case. Words of
    grammar, small numbers and other forms of the same word (film, films) are left out. Embeddings tell which words
    stand in the same places: among the nearest are members of one series (monday, tuesday) and at times opposites
    (increase, decrease).

    Args:
        words: the words that a synonym is wanted for.
        tokenizer: the model's tokenizer.
        vectors: its input embeddings, `[vocabulary, width]`.
        min_similarity: least cosine similarity.

    Returns:
        Up to `MOST_NEIGHBOURS` synonyms for each word that has any, the nearest first.
    """
    vocabulary = whole_words(tokenizer, len(vectors))
    names = list(vocabulary)
    # Read as float32, whatever the model's precision; a row of zeros (padding) is near to nothing.
    table = np.asarray(vectors, dtype=np.float32)[[vocabulary[name] for name in names]]
    table = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    wanted = [index for index, name in enumerate(names) if name in words]
    families = np.unique([_family(name) for name in names], return_inverse=True)[1]
    found: dict[str, tuple[str, ...]] = {}
    for start in range(0, len(wanted), _CHUNK_WORDS):
        rows = wanted[start : start + _CHUNK_WORDS]
        for row, similarities in zip(rows, table[rows] @ table.T, strict=True):
            close = np.flatnonzero(similarities >= min_similarity)
            close = close[families[close] == families[row]]
            close = close[np.argsort(-similarities[close], kind="stable")]
            best = [names[index] for index in close.tolist() if not _share_a_stem(names[row], names[index])]
            if best:
                found[names[row]] = tuple(best[:MOST_NEIGHBOURS])
    return found


def whole_words(tokenizer: PreTrainedTokenizerBase, rows: int) -> dict[str, int]:
    """Words that the tokenizer writes as one token, with its id below `rows`; no pieces of words, numbers or signs.

    Found by trying, so that it holds for any kind of tokenizer: a token counts when the word it spells, after a space,
    is encoded as that token and no other.
    """
    special = set(tokenizer.all_special_ids)
    ids = [index for index in range(min(len(tokenizer), rows)) if index not in special]
    spelled = [_spell(tokenizer, token) for token in tokenizer.convert_ids_to_tokens(ids)]
    kept = [(index, word) for index, word in zip(ids, spelled, strict=True) if _is_word(word)]
    if not kept:
        return {}
    options: dict[str, Any] = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
    encoded = tokenizer([f" {word}" for _, word in kept], **options)["input_ids"]
    return {word: index for (index, word), found in zip(kept, encoded, strict=True) if list(found) == [index]}


def _spell(tokenizer: PreTrainedTokenizerBase, token: str | None) -> str:
    # Ids without a token (a vocabulary padded to a round size) spell nothing.
    return "" if token is None else str(tokenizer.convert_tokens_to_string([token])).strip()


def _is_word(word: str) -> bool:
    return word.isalpha() and word.lower() not in _GRAMMAR and (len(word) > 1 or is_unspaced(word))


def _share_a_stem(one: str, other: str) -> bool:
    """Whether two words are most likely forms of one.

    One begins with the other; or both begin alike for four letters, and for two thirds of the shorter.
    """
    shorter = min(len(one), len(other))
    same = next((at for at in range(shorter) if one[at] != other[at]), shorter)
    return same == shorter or (same >= 4 and 3 * same >= 2 * shorter)


def _family(word: str) -> str:
    """Script and case of a word: only words of one family replace each other."""
    script = unicodedata.name(word[0], "?").split(" ")[0]
    case = "title" if is_title(word) else "upper" if word.isupper() else "lower"
    return f"{script} {case}"
