"""Trivial predictors that fine-tuning has to beat: the commonest class, and logistic regression on plain features.

All are deterministic, run on one core in seconds to tens of seconds, and learn from the training split alone.
"""

from __future__ import annotations

import importlib.metadata
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trimtab.core.cache import DiskCache, cached_json, content_key
from trimtab.core.errors import DataError
from trimtab.core.optional import require
from trimtab.data.image_store import file_key
from trimtab.metrics.classification import Ints, class_ids

if TYPE_CHECKING:
    import pandas as pd

MAJORITY = "majority class"
TFIDF_LOGISTIC = "TF-IDF + logistic regression"
PIXEL_LOGISTIC = "8×8 pixels + logistic regression"

FORMAT = 1
"""Part of every key in the cache: raised when a baseline predicts something else from the same rows."""

MAX_CHARACTERS = 2_000
MAX_FEATURES = 100_000
LARGE_ROWS = 5_000
INVERSE_REGULARISATION = 10.0
THUMBNAIL = 8

# Logistic regression costs rows × classes numbers of memory, and values × classes operations an iteration.
MAX_ROWS_TIMES_CLASSES = 20_000_000
MAX_OPERATIONS = 5_000_000_000
ITERATIONS = (30, 300)

WORD = r"(?u)\w+|[^\w\s]"
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
UNSPACED_SHARE = 0.2
PAIR_SEPARATOR = " ||| "

Predictions = NDArray[np.int64]


def baseline_predictions(
    task: str,
    train_frame: pd.DataFrame,
    frame: pd.DataFrame,
    label_names: Sequence[str],
    *,
    cache: DiskCache | None = None,
) -> dict[str, Predictions]:
    """What each baseline that fits the task predicts.

    Args:
        task: `text-classification` or `image-classification`; another task gets the majority class alone.
        train_frame: training rows with `label` (names) and `text` (and `text_pair`), or `image` (paths).
        frame: rows to predict, with the same columns; the label is not read.
        label_names: index = class id.
        cache: keeps the predictions for later runs on the same rows; None keeps nothing.

    Returns:
        Baseline name -> predicted class ids, int64 [len(frame)].

    Raises:
        DataError: there are no training rows, a label is not among the names, or an image cannot be read.
    """
    ids = {name: index for index, name in enumerate(label_names)}
    unknown = sorted(set(train_frame["label"]) - set(ids))
    if unknown:
        raise DataError(f"Training labels {unknown[:5]} are not among the {len(ids)} labels of the model.")
    labels = train_frame["label"].map(ids).to_numpy(np.int64)
    found = {MAJORITY: majority(labels, len(frame))}
    if task == "text-classification":
        texts, others = _texts(train_frame), _texts(frame)
        key = content_key(TFIDF_LOGISTIC, FORMAT, _versions(), texts, labels, others)
        found[TFIDF_LOGISTIC] = _kept(cache, key, lambda: tfidf_logistic(texts, labels, others))
    elif task == "image-classification":
        paths, others = list(train_frame["image"]), list(frame["image"])
        files = [[str(file_key(path)) for path in part] for part in (paths, others)]
        key = content_key(PIXEL_LOGISTIC, FORMAT, _versions(), files, labels)
        found[PIXEL_LOGISTIC] = _kept(cache, key, lambda: pixel_logistic(paths, labels, others))
    return found


def _kept(cache: DiskCache | None, key: str, make: Callable[[], Predictions]) -> Predictions:
    """Predictions from the cache, or made and kept."""
    return np.array(cached_json(cache, key, lambda: make().tolist()), np.int64)


def _versions() -> list[str]:
    return [importlib.metadata.version(package) for package in ("scikit-learn", "numpy")]


def majority(train_labels: Ints, rows: int) -> Predictions:
    """The commonest training class for each of `rows` rows; the lowest id where several are equally common.

    Raises:
        DataError: there are no training labels.
    """
    if not len(train_labels):
        raise DataError("There are no training rows to find the commonest class in.")
    return np.full(rows, np.bincount(train_labels).argmax(), np.int64)


def tfidf_logistic(train_texts: Sequence[str], train_labels: Ints, texts: Sequence[str]) -> Predictions:
    """Logistic regression on TF-IDF weights of word 1- and 2-grams.

    Where words are not set apart by spaces (Chinese, Japanese, Thai, …) the features are character 1- to 3-grams. Only
    the first 2,000 characters of a text are read, near to what an encoder reads.

    Args:
        train_texts: n texts.
        train_labels: class ids, int [n].
        texts: m texts to predict.

    Returns:
        Class ids int64 [m]. Where the training rows hold one class only, or no word, the majority class.
    """
    train_texts, texts = ([text[:MAX_CHARACTERS] for text in part] for part in (train_texts, texts))
    if _too_plain(train_labels) or not any(text.strip() for text in train_texts) or not texts:
        return majority(train_labels, len(texts))
    from sklearn.feature_extraction.text import TfidfVectorizer

    chosen = _stratified(train_labels)
    train_texts = [train_texts[index] for index in chosen]
    units: dict[str, Any] = {"token_pattern": WORD, "ngram_range": (1, 2)}
    if _is_unspaced(train_texts):
        units = {"analyzer": "char_wb", "ngram_range": (1, 3)}
    vectorizer = TfidfVectorizer(
        **units,
        sublinear_tf=True,
        min_df=2 if len(train_texts) > LARGE_ROWS else 1,
        max_features=MAX_FEATURES,
        dtype=np.float64,
    )
    features = vectorizer.fit_transform(train_texts)
    return _logistic(features, train_labels[chosen], vectorizer.transform(texts))


def pixel_logistic(train_paths: Sequence[str], train_labels: Ints, paths: Sequence[str]) -> Predictions:
    """Logistic regression on the standardised colours of 8 × 8 thumbnails.

    Args:
        train_paths: n image files.
        train_labels: class ids, int [n].
        paths: m image files to predict.

    Returns:
        Class ids int64 [m]; the majority class where the training rows hold one class only.

    Raises:
        DataError: an image cannot be read; the message names the file.
        MissingDependencyError: Pillow is not installed.
    """
    if _too_plain(train_labels) or not len(paths):
        return majority(train_labels, len(paths))
    chosen = _stratified(train_labels)
    train = np.stack([_thumbnail(train_paths[index]) for index in chosen])
    others = np.stack([_thumbnail(path) for path in paths])
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-6
    # Few strongly correlated features: a tenth of the texts' freedom generalises better and converges.
    return _logistic((train - mean) / deviation, train_labels[chosen], (others - mean) / deviation, inverse=0.1)


def _logistic(features: Any, labels: Ints, others: Any, inverse: float = INVERSE_REGULARISATION) -> Predictions:
    """Fit within the budget of operations, predict. Not to converge is all right for a baseline."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    values = getattr(features, "nnz", features.size)
    affordable = int(MAX_OPERATIONS / max(1, values * len(np.unique(labels))))
    model = LogisticRegression(C=inverse, max_iter=int(np.clip(affordable, *ITERATIONS)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, labels)
    return np.asarray(model.predict(others), np.int64)


def _too_plain(labels: Ints) -> bool:
    """Whether there is nothing to tell apart; no labels at all are left to `majority` to refuse."""
    return len(labels) == 0 or bool((labels == labels[0]).all())


def _stratified(labels: Ints) -> NDArray[np.int64]:
    """Row indices to learn from: all, or evenly spaced ones in order of class where memory would not do."""
    rows = len(labels)
    classes = len(np.unique(class_ids(labels, int(labels.max()) + 1)))
    most = max(classes, MAX_ROWS_TIMES_CLASSES // classes)
    if rows <= most:
        return np.arange(rows)
    by_class = np.argsort(labels, kind="stable")
    return np.sort(by_class[np.linspace(0, rows - 1, most).astype(np.int64)])


def _is_unspaced(texts: Sequence[str]) -> bool:
    """Whether at least a fifth of the characters belong to scripts that set no spaces between words."""
    sample = "".join(texts[:: max(1, len(texts) // 1000)])
    return len(UNSPACED.findall(sample)) >= UNSPACED_SHARE * max(1, len(sample))


def _texts(frame: pd.DataFrame) -> list[str]:
    """The texts; pairs are joined."""
    texts = [str(text) for text in frame["text"]]
    if "text_pair" not in frame:
        return texts
    # Each half gets its share of the characters read, so that a long first text does not hide the second.
    half = MAX_CHARACTERS // 2
    return [
        text[:half] + PAIR_SEPARATOR + str(other)[:half] for text, other in zip(texts, frame["text_pair"], strict=True)
    ]


def _thumbnail(path: str) -> NDArray[np.float32]:
    """Colours in [0, 1] of the image shrunk to 8 × 8, float32 [192]."""
    image_module = require("PIL.Image", extra="vision", purpose="read images")
    try:
        with image_module.open(path) as image:
            # JPEG files are decoded at a fraction of their size, many times faster.
            image.draft("RGB", (THUMBNAIL * 8, THUMBNAIL * 8))
            small = image.convert("RGB").resize((THUMBNAIL, THUMBNAIL), image_module.Resampling.BOX)
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
        raise DataError(
            f"The image {path} cannot be read: {error}.", remedy="Remove the file or replace it by a sound one."
        ) from error
    return np.asarray(np.asarray(small).reshape(-1) / 255, np.float32)
