"""Characters and words that a tokenizer cannot write: finding them in the training texts, and adding them to it.

New tokens go into the vocabulary of the tokenizer's own model (WordPiece, Unigram, WordLevel, BPE), not beside it as
"added tokens": there they pass the same normalisation (lower case, accents) and the same splitting into words as any
other, and `save_pretrained` writes them with the rest. Whatever the tokenizer could write before, it writes as before:
a new token either is one character in a place where none of the vocabulary fitted, or holds a character that no
token of the vocabulary holds.
"""

from __future__ import annotations

import copy
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import ModelError, RecipeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from trimtab.config.recipe import ModelSection

SPACE_MARK = "▁"
"""What SentencePiece writes for the space before a word."""

# How the Unicode names of letters begin in scripts that put no space between words.
_UNSPACED = (
    "CJK ", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR",
    "TIBETAN", "TAI ", "YI ", "JAVANESE", "BALINESE",
)  # fmt: skip
_REPLACEMENT_CHARACTER = "\ufffd"


@dataclass(frozen=True)
class NewToken:
    """A token that the vocabulary lacks.

    Args:
        piece: as the vocabulary writes it, e.g. `##é` for an é within a word.
        text: the characters that it stands for, e.g. `é`, normalised as the tokenizer does.
        count: times that it occurs in the training texts, within what cannot be written.
    """

    piece: str
    text: str
    count: int


class Vocabulary:
    """What a tokenizer can write.

    Args:
        tokenizer: a tokenizer of transformers.

    Raises:
        RecipeError: it is none (image processors).
        ModelError: it is one in Python, whose vocabulary cannot be reached.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not hasattr(tokenizer, "get_vocab"):
            raise RecipeError(
                "model.extend_vocabulary: the model reads no text, so that it has no vocabulary.",
                remedy="Remove the keys model.extend_vocabulary and model.vocabulary_* from the recipe.",
            )
        if not tokenizer.is_fast:
            raise ModelError(
                f"model.extend_vocabulary: the tokenizer of this model ({type(tokenizer).__name__}) is written in "
                "Python, and only those of the tokenizers library can be extended.",
                remedy="Choose a model with a tokenizer.json, or remove model.extend_vocabulary.",
            )
        self.tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self.kind = type(self._backend.model).__name__
        self.prefix = getattr(self._backend.model, "continuing_subword_prefix", None) or ""
        self._suffix = getattr(self._backend.model, "end_of_word_suffix", None) or ""

    @cached_property
    def pieces(self) -> dict[str, int]:
        """Piece -> id, special tokens left out."""
        special = set(self.tokenizer.all_special_tokens) | set(self.tokenizer.added_tokens_encoder)
        known: dict[str, int] = self._backend.get_vocab(with_added_tokens=False)
        return {piece: index for piece, index in known.items() if piece not in special}

    @cached_property
    def characters(self) -> frozenset[str]:
        """All characters that stand in any piece."""
        bare = (piece.removeprefix(self.prefix).removesuffix(self._suffix) for piece in self.pieces)
        return frozenset(character for piece in bare for character in piece)

    @cached_property
    def writes_everything(self) -> bool:
        """Whether no text is unknown to it: it falls back to bytes, or has no token for the unknown."""
        if self.tokenizer.unk_token_id is None or getattr(self._backend.model, "byte_fallback", False):
            return True
        return any("ByteLevel" in str(part) for part in (self._backend.normalizer, self._backend.pre_tokenizer))

    def words(self, texts: Iterable[str]) -> Counter[str]:
        """The words of the texts with their counts, normalised and split as the tokenizer does."""
        normalizer, splitter = self._backend.normalizer, self._backend.pre_tokenizer
        normalise: Callable[[str], str] = normalizer.normalize_str if normalizer else str
        counts: Counter[str] = Counter()
        for text in texts:
            plain = normalise(text)
            counts.update([word for word, _ in splitter.pre_tokenize_str(plain)] if splitter else [plain])
        if self.kind != "Unigram":
            return counts
        words: Counter[str] = Counter()
        for part, count in counts.items():
            for word in re.split(f"(?={SPACE_MARK})", part):
                words[word] += count
        return words

    def missing(self, word: str) -> Iterator[tuple[str, str]]:
        """What would make a word writable, as (piece, text); nothing where it is writable already."""
        if word in self.pieces:
            return
        if self.kind == "WordLevel":
            if all(map(_can_be_seen, word)):
                yield word, word
        elif self.kind == "Unigram":
            yield from self._missing_of_unigram(word)
        elif self._is_unknown(word):
            last = len(word) - 1
            for place, character in enumerate(word):
                piece = self.prefix * (place > 0) + character + self._suffix * (place == last)
                if piece not in self.pieces and _can_be_seen(character):
                    yield piece, character
            # BPE builds words by merges alone.
            if self.kind == "WordPiece" and self._is_new_word(word):
                yield word, word

    def _missing_of_unigram(self, word: str) -> Iterator[tuple[str, str]]:
        bare = word.removeprefix(SPACE_MARK)
        for character in bare:
            if character not in self.characters and _can_be_seen(character):
                yield character, character
        if bare != word and self._is_new_word(bare):
            yield word, bare

    def _is_unknown(self, word: str) -> bool:
        limit = getattr(self._backend.model, "max_input_chars_per_word", None)
        if limit is not None and len(word) > limit:
            return False  # unknown for its length, which no token would change
        unknown = self.tokenizer.unk_token_id
        return any(token.id == unknown for token in self._backend.model.tokenize(word))

    def _is_new_word(self, word: str) -> bool:
        """Whether it is a word of a script with spaces, with a character that stands in no piece."""
        return (
            len(word) > 1
            and all(unicodedata.category(character)[0] in "LMN" for character in word)
            and not any(map(is_unspaced, word))
            and any(character not in self.characters for character in word)
        )


def find_new_tokens(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, limit: int, min_count: int
) -> tuple[NewToken, ...]:
    """The frequent characters and words of texts that a tokenizer makes unknown tokens of.

    Scripts without spaces (Chinese, Japanese, Thai, …) give characters; the others give words, and the characters that
    make rarer words writable. Control characters and spaces are left out. BPE gets characters only, a vocabulary of
    whole words words only. A word that is too long for the tokenizer stays unknown.

    Args:
        texts: of the training rows only; others would leak into the model.
        tokenizer: of the model.
        limit: most tokens.
        min_count: times that a token must occur.

    Returns:
        The tokens, the most frequent first, equally frequent ones in the order of their code points; none where the
        tokenizer can write everything.

    Raises:
        RecipeError: there is no tokenizer.
        ModelError: its vocabulary cannot be reached.
    """
    vocabulary = Vocabulary(tokenizer)
    if vocabulary.writes_everything:
        return ()
    counts: Counter[tuple[str, str]] = Counter()
    for word, count in vocabulary.words(texts).items():
        for new in vocabulary.missing(word):
            counts[new] += count
    frequent = ((-count, piece, text) for (piece, text), count in counts.items() if count >= min_count)
    return tuple(NewToken(piece, text, -count) for count, piece, text in sorted(frequent)[:limit])


def with_tokens(tokenizer: PreTrainedTokenizerBase, tokens: tuple[NewToken, ...]) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer that knows `tokens`, from the first free id on, in their order.

    Raises:
        ModelError: the tokenizer does not take them.
    """
    from tokenizers import Tokenizer

    extended = copy.deepcopy(tokenizer)
    backend = extended.backend_tokenizer
    content = json.loads(backend.to_str())
    first = first_free_id(tokenizer)
    pieces = [token.piece for token in tokens]
    content["model"]["vocab"] = _longer(content["model"]["vocab"], pieces, first, tokenizer.added_tokens_decoder)
    backend.model = Tokenizer.from_str(json.dumps(content)).model
    if extended.convert_tokens_to_ids(pieces) != list(range(first, first + len(pieces))):
        raise ModelError(
            f"model.extend_vocabulary: the tokenizer of this model ({type(tokenizer).__name__}) gives new tokens other "
            "ids than the next free ones.",
            remedy="Choose another model with --model, or remove model.extend_vocabulary.",
        )
    return extended


def extended_tokenizer(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], section: ModelSection
) -> PreTrainedTokenizerBase:
    """The tokenizer as `model.extend_vocabulary` makes it for the training texts; itself where nothing is missing.

    Raises:
        RecipeError: there is no tokenizer.
        ModelError: its vocabulary cannot be extended.
    """
    tokens = find_new_tokens(texts, tokenizer, section.vocabulary_size, section.vocabulary_min_count)
    return with_tokens(tokenizer, tokens) if tokens else tokenizer


def first_free_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id after the last that the tokenizer knows."""
    return 1 + max(tokenizer.get_vocab().values())


def is_unspaced(character: str) -> bool:
    """Whether a character belongs to a script that puts no space between words."""
    return unicodedata.name(character, "").startswith(_UNSPACED)


def _can_be_seen(character: str) -> bool:
    """Whether it is more than a control character, a space, or the mark of a decoding fault."""
    marks = (_REPLACEMENT_CHARACTER, SPACE_MARK)
    return unicodedata.category(character)[0] not in "CZ" and character not in marks


def _longer(vocabulary: Any, pieces: list[str], first: int, added: dict[int, Any]) -> Any:
    """The vocabulary in the form of `tokenizer.json` (piece -> id, or Unigram's list of scores) with more pieces."""
    if isinstance(vocabulary, dict):
        return {**vocabulary, **{piece: first + index for index, piece in enumerate(pieces)}}
    # The least likely of all: no new piece then takes the place of known ones. The place in the list is the id, so
    # that ids which tokens beside the vocabulary hold must stand in it.
    score = min(value for _, value in vocabulary)
    between = [str(added.get(index, f"<unused {index}>")) for index in range(len(vocabulary), first)]
    return [*vocabulary, *([piece, score] for piece in (*between, *pieces))]
