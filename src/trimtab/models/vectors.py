"""Vectors of words or characters from a file, and the linear map from their space to a model's embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.core.errors import RecipeError

Floats = npt.NDArray[np.floating[Any]]

VOCABULARY_FILE = "vocab.json"
KEY = "model.vocabulary_vectors"
FEWEST_SHARED = 20
"""Tokens that must stand both in the file and in the model for a map to be fitted."""
MOST_SHARED = 20_000
"""Most of them that the fit looks at, the first of the file, which are usually the most frequent."""
# Ridge penalties that are tried, in units of the mean squared singular value.
_PENALTIES = np.geomspace(1e-4, 1e4, 17)


@dataclass(frozen=True)
class Vectors:
    """Vectors by token.

    Args:
        rows: token -> row of the matrix, in the order of the file.
        matrix: float32 `[tokens, dimensions]`.
    """

    rows: dict[str, int]
    matrix: npt.NDArray[np.float32]

    def of(self, tokens: list[str]) -> npt.NDArray[np.float32]:
        """The vectors of tokens that are all there, `[tokens, dimensions]`."""
        found: npt.NDArray[np.float32] = self.matrix[[self.rows[token] for token in tokens]]
        return found


@dataclass(frozen=True)
class LinearMap:
    """A map between two spaces, `target = target_mean + (source − source_mean) × weights`.

    Args:
        source_mean: `[dimensions of the source]`.
        target_mean: `[dimensions of the target]`.
        weights: `[dimensions of the source, dimensions of the target]`.
        r2: share of the target's variance that the map explains on rows left out of the fit; below 0 where it explains
            none.
        rows: rows it was fitted on.
        spread: root mean square distance of the target's rows from their mean, over that of the mapped rows: least
            squares explain a part of the variance only, and so map too near to the mean.
    """

    source_mean: Floats
    target_mean: Floats
    weights: Floats
    r2: float
    rows: int
    spread: float

    def __call__(self, source: Floats) -> Floats:
        """Map rows, as far from the target's mean on average as its own rows are; `[rows, dimensions]` of each."""
        mapped: Floats = self.target_mean + self.spread * ((source - self.source_mean) @ self.weights)
        return mapped


def fit_linear_map(source: Floats, target: Floats) -> LinearMap:
    """Least squares with a ridge penalty, the one that predicts left-out rows best.

    Leaving out each row in turn needs no second fit: its error is e_i / (1 − h_ii), with the error e_i and the leverage
    h_ii of the fit to all rows (Hastie, Tibshirani & Friedman 2009, The Elements of Statistical Learning, eq. 7.64).

    Args:
        source: `[rows, dimensions of the source]`, at least two rows.
        target: `[rows, dimensions of the target]`.
    """
    rows = len(source)
    source_mean, target_mean = source.mean(axis=0, dtype=np.float64), target.mean(axis=0, dtype=np.float64)
    centred = target - target_mean
    left, values, right = np.linalg.svd(source - source_mean, full_matrices=False)
    values = np.where(values > 1e-10 * max(values.max(initial=0.0), 1e-300), values, 0.0)
    projected = left.T @ centred
    variance = float((centred**2).sum()) * (rows / (rows - 1)) ** 2
    unit = float((values**2).mean()) or 1.0
    best, best_shrink = -np.inf, np.zeros_like(values)
    for penalty in unit * _PENALTIES:
        shrink = values**2 / (values**2 + penalty)
        leverage = 1 / rows + (left**2 * shrink).sum(axis=1)
        errors = (centred - (left * shrink) @ projected) / np.maximum(1 - leverage, 1e-6)[:, None]
        r2 = 1 - float((errors**2).sum()) / variance if variance else 0.0
        if r2 > best:
            best, best_shrink = r2, shrink
    inverse = np.divide(best_shrink, values, out=np.zeros_like(values), where=values > 0)
    mapped = np.linalg.norm((left * best_shrink) @ projected)
    spread = float(np.linalg.norm(centred) / mapped) if mapped else 0.0
    return LinearMap(source_mean, target_mean, (right.T * inverse) @ projected, best, rows, spread)


def read_vectors(path: str, wanted: Callable[[str], bool]) -> Vectors:
    """Read the vectors of the tokens that are wanted.

    Args:
        path: a folder with one `.safetensors` file and `vocab.json` (token -> row), such a file beside its
            `vocab.json`, or a text file of the word2vec, fastText or GloVe format: on each line a token and its
            numbers, with or without a first line of counts.
        wanted: whether a token is.

    Raises:
        RecipeError: the file is missing or damaged; the message says where.
    """
    file = vector_file(path)
    vectors = _read_safetensors(file, wanted) if file.suffix == ".safetensors" else _read_text(file, wanted)
    if not np.isfinite(vectors.matrix).all():
        bad = next(token for token, row in vectors.rows.items() if not np.isfinite(vectors.matrix[row]).all())
        raise _fault(file, f"the vector of {bad!r} holds NaN or an infinite number")
    return vectors


def vector_file(path: str) -> Path:
    """The file that `path` names: itself, or the safetensors file of a folder.

    Raises:
        RecipeError: it does not exist, or the folder holds none or several.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        found = sorted(place.glob("*.safetensors"))
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise RecipeError(
                f"{KEY}: the folder {path!r} should hold one .safetensors file; found: {names}.",
                remedy="Name the file itself, or a text file with a token and its numbers on each line.",
            )
        place = found[0]
    if not place.is_file():
        raise RecipeError(f"{KEY}: there is no file {path!r}.", remedy="Check the path, or remove the key.")
    return place


def _read_safetensors(file: Path, wanted: Callable[[str], bool]) -> Vectors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = {name: tensor for name, tensor in load_file(file).items() if tensor.ndim == 2}
    except (SafetensorError, OSError) as error:
        raise _fault(file, f"it is no safetensors file ({error})") from error
    if len(tensors) != 1:
        raise _fault(file, f"it should hold one matrix; found: {', '.join(tensors) or 'none'}")
    matrix = next(iter(tensors.values())).float().numpy()
    vocabulary = file.parent / VOCABULARY_FILE
    try:
        rows = json.loads(vocabulary.read_text(encoding="utf-8"))
    except OSError as error:
        raise _fault(vocabulary, f"it cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise _fault(vocabulary, f"it is no JSON ({error})") from error
    if not isinstance(rows, dict) or not all(type(row) is int for row in rows.values()):
        raise _fault(vocabulary, "it should map each token to the number of its row")
    outside = [token for token, row in rows.items() if not 0 <= row < len(matrix)]
    if outside:
        raise _fault(
            vocabulary, f"it puts {outside[0]!r} at row {rows[outside[0]]}, and {file.name} has {len(matrix):,} rows"
        )
    return Vectors({token: row for token, row in rows.items() if wanted(token)}, matrix)


def _read_text(file: Path, wanted: Callable[[str], bool]) -> Vectors:
    rows: dict[str, int] = {}
    kept: list[npt.NDArray[np.float32]] = []
    try:
        with open(file, encoding="utf-8", newline="\n") as lines:
            for number, token, values in _entries(file, lines):
                if token in rows or not wanted(token):
                    continue
                try:
                    kept.append(np.array(values, dtype=np.float32))
                except ValueError:
                    raise _fault(file, f"line {number} holds something else than numbers after its token") from None
                rows[token] = len(rows)
    except (OSError, UnicodeDecodeError) as error:
        raise _fault(file, f"it cannot be read as UTF-8 text ({error})") from error
    return Vectors(rows, np.stack(kept) if kept else np.zeros((0, 1), dtype=np.float32))


def _entries(file: Path, lines: Iterator[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Number, token and numbers of each line; a token may hold spaces, the numbers are counted from the end."""
    dimensions = 0
    for number, line in enumerate(lines, start=1):
        parts = line.rstrip().split(" ")
        if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
            dimensions = int(parts[1])
            continue
        dimensions = dimensions or len(parts) - 1
        if dimensions < 1 or len(parts) <= dimensions:
            raise _fault(file, f"line {number} should hold a token and {dimensions or 'several'} numbers")
        yield number, " ".join(parts[:-dimensions]), parts[-dimensions:]


def _fault(file: Path, what: str) -> RecipeError:
    return RecipeError(
        f"{KEY}: {file} cannot be used: {what}.",
        remedy="Give a folder with one safetensors matrix and vocab.json (token -> row), or a text file with a token "
        "and its numbers on each line.",
    )
