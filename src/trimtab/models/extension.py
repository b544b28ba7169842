"""A model with more tokens than it was pretrained with: where the embeddings of the new ones start from."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.errors import ModelError, RecipeError
from trimtab.core.seeds import stream
from trimtab.models.blocks import map_blocks
from trimtab.models.loading import LoadedModel
from trimtab.models.quiet import quiet_transformers, reason_of
from trimtab.models.vectors import FEWEST_SHARED, KEY, MOST_SHARED, LinearMap, Vectors, fit_linear_map, read_vectors
from trimtab.models.vocabulary import (
    SPACE_MARK,
    NewToken,
    Vocabulary,
    find_new_tokens,
    first_free_id,
    with_tokens,
)

if TYPE_CHECKING:
    from torch import nn

    from trimtab.config.recipe import ModelSection

RATE_FACTOR = 20.0
"""Rate of the new tokens, in multiples of the base rate (docs/experiments.md, "New tokens")."""
# A word whose known pieces are less than half of it says little.
_LEAST_COVERAGE = 0.5


@dataclass(frozen=True)
class NewRows:
    """The rows of new tokens in a model's embeddings.

    Args:
        parameters: the matrices that have a row for each token: the input embeddings, and the output embeddings where
            they are not the same.
        tokens: what was added; each has the row after that of the one before.
        first: the row of the first.
    """

    parameters: tuple[nn.Parameter, ...]
    tokens: tuple[NewToken, ...]
    first: int

    @property
    def end(self) -> int:
        """The row after the last new one."""
        return self.first + len(self.tokens)

    def names(self, model: nn.Module) -> tuple[str, ...]:
        """What a model calls the matrices; adapters put prefixes before the names.

        Raises:
            ModelError: a matrix is no longer part of the model.
        """
        by_identity = {id(parameter): name for name, parameter in model.named_parameters()}
        if any(id(parameter) not in by_identity for parameter in self.parameters):
            raise ModelError(
                "model.extend_vocabulary: the strategy put other embeddings in the place of the extended ones.",
                remedy="Leave the embeddings out of the adapter's target modules.",
            )
        return tuple(by_identity[id(parameter)] for parameter in self.parameters)


def extend_vocabulary(loaded: LoadedModel, texts: Iterable[str], section: ModelSection, *, seed: int) -> LoadedModel:
    """Add the frequent tokens that the tokenizer cannot write to tokenizer and model.

    A new row starts, in this order, from the known piece for the same characters in another place of a word; from the
    token's vector in `model.vocabulary_vectors`; from the mean of its known pieces; or from a normal distribution with
    mean and variance, dimension by dimension, of the known rows (Hewitt 2021, "Initializing New Word Embeddings for
    Pretrained Language Models", which draws with the full covariance).

    Args:
        loaded: from `load_model`; its model is changed in place.
        texts: of the training rows only.
        section: the recipe's `model` section.
        seed: of the run; the rows draw from a stream of their own.

    Returns:
        The model with the longer tokenizer, `new_rows`, and sentences in `notes` that say what was added.

    Raises:
        RecipeError: the model reads no text; the vectors cannot be read, or have nothing to do with model and texts.
        ModelError: the tokenizer or the embeddings cannot be extended.
    """
    tokenizer = loaded.processor
    tokens = find_new_tokens(texts, tokenizer, section.vocabulary_size, section.vocabulary_min_count)
    if not tokens:
        return replace(loaded, notes=(*loaded.notes, _nothing_missing(tokenizer)))
    first = first_free_id(tokenizer)
    extended = with_tokens(tokenizer, tokens)
    rows = NewRows(_enlarge(loaded.model, first + len(tokens)), tokens, first)
    notes = _fill(rows, Vocabulary(tokenizer), section.vocabulary_vectors, seed)
    return replace(
        loaded,
        processor=extended,
        blocks=map_blocks(loaded.model),
        notes=(*loaded.notes, *_describe(tokens), *notes),
        new_rows=rows,
    )


def new_token_rate(section: ModelSection, learning_rate: float) -> float:
    """Peak rate of the new tokens' embeddings, from the run's base rate."""
    return section.vocabulary_learning_rate or RATE_FACTOR * learning_rate


def _nothing_missing(tokenizer: Any) -> str:
    if Vocabulary(tokenizer).writes_everything:
        return "The tokenizer writes every text, falling back to bytes where it must: no token was added."
    return "The tokenizer can write all frequent characters and words of the training texts: no token was added."


def _describe(tokens: tuple[NewToken, ...]) -> list[str]:
    words = sum(len(token.text) > 1 for token in tokens)
    kinds = [f"{count:,} {kind}" for count, kind in ((len(tokens) - words, "characters"), (words, "words")) if count]
    least = tokens[-1].count
    times = "once" if least == 1 else f"{least:,} times"
    return [
        f"The vocabulary was extended by {' and '.join(kinds)} that the tokenizer could not write; the rarest of them "
        f"occurs {times} in the training texts."
    ]


def _enlarge(model: Any, rows: int) -> tuple[nn.Parameter, ...]:
    """Give the model embeddings for `rows` tokens, unless it has more, and return the matrices with a row for each.

    Raises:
        ModelError: this architecture's embeddings cannot be enlarged.
    """
    import torch

    try:
        # New layers draw; the streams of head and dropout go on as if they had not.
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            model.resize_token_embeddings(max(rows, len(model.get_input_embeddings().weight)), mean_resizing=False)
        layers = [model.get_input_embeddings(), model.get_output_embeddings()]
        found = {id(layer.weight): layer.weight for layer in layers if layer is not None}
    except (NotImplementedError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"model.extend_vocabulary: the embeddings of this model ({model.config.model_type}) cannot be extended: "
            f"{reason_of(error)}.",
            remedy="Choose another model with --model, or remove model.extend_vocabulary.",
        ) from error
    return tuple(found.values())


def _fill(rows: NewRows, vocabulary: Vocabulary, path: str | None, seed: int) -> list[str]:
    """Fill the new rows of every matrix; what a user should know of it, as sentences."""
    import torch

    texts = {token.text for token in rows.tokens}
    vectors = None
    if path is not None:
        writable = {piece.removeprefix(SPACE_MARK) for piece in vocabulary.pieces}
        vectors = read_vectors(path, lambda token: token in writable or token in texts)
    pieces = _known_pieces(rows.tokens, vocabulary)
    notes: list[str] = []
    # Last the input embeddings: the sentences are about them.
    for parameter in reversed(rows.parameters):
        matrix = parameter.detach().cpu().numpy()[: rows.first]
        start = {index: matrix[found].mean(axis=0) for index, found in enumerate(pieces) if found}
        counts = {"from their known pieces": len(start)}
        notes = []
        if vectors is not None and path is not None:
            fit, mapped = _map_vectors(vectors, path, rows.tokens, vocabulary, matrix)
            counts = {f"from the vectors in {path}": len(mapped), "from their known pieces": len(start.keys() - mapped)}
            start |= mapped
            notes = [_describe_map(fit)]
        filled = _around_mean(matrix, vocabulary, len(rows.tokens), seed)
        for index, row in start.items():
            filled[index] = row
        counts["around the mean of the known ones"] = len(rows.tokens) - len(start)
        with torch.no_grad():
            parameter[rows.first : rows.end] = torch.from_numpy(filled).to(parameter)
    places = ", ".join(f"{count:,} {place}" for place, count in counts.items() if count)
    return [f"The new embeddings start: {places}.", *notes]


def _describe_map(fit: LinearMap) -> str:
    return (
        f"The vectors were mapped to the embeddings by least squares on {fit.rows:,} shared tokens; the map explains "
        f"{100 * max(0.0, fit.r2):.0f} % of the variance of tokens left out of the fit (R² {fit.r2:.3f})."
    )


def _around_mean(matrix: np.ndarray, vocabulary: Vocabulary, count: int, seed: int) -> np.ndarray:
    """Rows like the known ones in mean and variance of each dimension, float32 `[count, dimensions]`."""
    known = matrix[[index for index in sorted(vocabulary.pieces.values()) if index < len(matrix)]]
    draws = stream(seed, "new tokens").standard_normal((count, matrix.shape[1]), dtype=np.float32)
    rows: np.ndarray = known.mean(axis=0, dtype=np.float64) + known.std(axis=0, dtype=np.float64) * draws
    return rows.astype(np.float32)


def _known_pieces(tokens: tuple[NewToken, ...], vocabulary: Vocabulary) -> list[list[int]]:
    """For each token the ids of the known pieces that make up at least half of it; none where there are not so many.

    An `é` that the vocabulary lacks at a word's beginning may stand in it for the inside of words; a full-width `：`
    is a `:`, and an `ő` is an `o` with an accent (Unicode normal forms KC and KD).
    """
    forms = [(index, form) for index, token in enumerate(tokens) for form in _forms(token.text)]
    blanked = ["".join(c if c in vocabulary.characters else " " for c in form) for _, form in forms]
    encoded = _ids(blanked, vocabulary)
    best: list[tuple[float, list[int]]] = [(0.0, []) for _ in tokens]
    for (index, form), blank, ids in zip(forms, blanked, encoded, strict=True):
        coverage = 1 - blank.count(" ") / len(form)
        if ids and coverage >= _LEAST_COVERAGE and coverage > best[index][0]:
            best[index] = (coverage, ids)
    return [_same_text(token, vocabulary) or ids for token, (_, ids) in zip(tokens, best, strict=True)]


def _same_text(token: NewToken, vocabulary: Vocabulary) -> list[int]:
    """Ids of known pieces that stand for the same characters in another place of a word."""
    pieces = vocabulary.pieces
    return [pieces[piece] for piece in (token.text, vocabulary.prefix + token.text) if piece in pieces]


def _forms(text: str) -> tuple[str, ...]:
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return tuple(dict.fromkeys(form for form in (text, unicodedata.normalize("NFKC", text), bare) if form))


def _ids(texts: list[str], vocabulary: Vocabulary) -> list[list[int]]:
    """Known ids of texts; unknown and special tokens, and a lone mark of a space, left out."""
    if not texts:
        return []
    encoded = vocabulary.tokenizer(texts, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
    known = set(vocabulary.pieces.values()) - {vocabulary.pieces.get(SPACE_MARK, -1)}
    return [[index for index in ids if index in known] for ids in encoded]


def _map_vectors(
    vectors: Vectors, path: str, tokens: tuple[NewToken, ...], vocabulary: Vocabulary, matrix: np.ndarray
) -> tuple[LinearMap, dict[int, np.ndarray]]:
    """The map from the file's space to the matrix's, and the mapped vector of each new token that the file holds.

    Raises:
        RecipeError: file and model, or file and new tokens, have nothing in common.
    """
    names = list(vectors.rows)
    shared: dict[int, str] = {}
    for name, ids in zip(names, _ids(names, vocabulary), strict=True):
        whole = len(ids) == 1 and all(character in vocabulary.characters for character in name)
        if whole and len(shared) < MOST_SHARED:
            shared.setdefault(ids[0], name)
    if len(shared) < FEWEST_SHARED:
        raise RecipeError(
            f"{KEY}: {len(shared)} tokens stand both in {path} and in the vocabulary of the model; at least "
            f"{FEWEST_SHARED} are needed to map the one space to the other.",
            remedy="Check that the vectors are of the language and script of the texts, or remove the key.",
        )
    # The model's own row for the same characters says more than a mapped one.
    known = {index for index, token in enumerate(tokens) if _same_text(token, vocabulary)}
    found = [index for index, token in enumerate(tokens) if token.text in vectors.rows and index not in known]
    if not found:
        some = ", ".join(token.text for token in tokens[:5])
        raise RecipeError(
            f"{KEY}: {path} holds none of the {len(tokens):,} new tokens (such as {some}), and would do nothing.",
            remedy="Check that the vectors are of the language and script of the texts, or remove the key.",
        )
    fit = fit_linear_map(vectors.of(list(shared.values())), matrix[list(shared)])
    mapped = fit(vectors.of([tokens[index].text for index in found]))
    return fit, dict(zip(found, mapped.astype(np.float32), strict=True))
