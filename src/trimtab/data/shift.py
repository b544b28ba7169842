"""Do the inputs of a held-out split look like those of train?

A classifier two-sample test (Lopez-Paz & Oquab 2017, arXiv 1610.06545): a plain classifier learns to tell training rows
from held-out rows; how well it does on rows that it did not learn from (area under the ROC curve, 0.5 by guessing) says
how far apart the two are. Splits that Trimtab cut at random cannot differ but by chance, and are left out.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.core.said import say
from trimtab.core.seeds import stream, stream_seed
from trimtab.data.findings import DataFinding
from trimtab.data.image_features import image_features
from trimtab.data.lexical import units

MAX_ROWS = 2_000
"""Most texts of each side."""
MAX_IMAGES = 500
FEWEST_ROWS = 20
TEXT_CHARACTERS = 1_000
MAX_FEATURES = 50_000
FOLDS = 5
WARN_AREA = 0.65
"""Area under the curve from which a shift is told, when it is beyond the noise too. Our choice."""
STANDARD_ERRORS = 3.0
WORDS = 8


@dataclass(frozen=True)
class Shift:
    """How far a held-out split is from train.

    Args:
        split: the held-out split.
        area: area under the ROC curve of telling its rows from training rows, in cross-validation.
        error: its standard error (Hanley & McNeil 1982).
        rows: training and held-out rows that were compared.
        typical: words (or image numbers) that speak most for the held-out split, the strongest first.
    """

    split: str
    area: float
    error: float
    rows: tuple[int, int]
    typical: tuple[str, ...] = ()


def find_shifts(splits: Mapping[str, pd.DataFrame], held_out: Sequence[str], *, seed: int = 0) -> list[Shift]:
    """Compare the inputs of each held-out split that the user gave with those of train.

    Args:
        splits: canonical frames with `text` (and `text_pair`) or `image`.
        held_out: splits that were cut from the training rows at random.
        seed: seed of samples and folds.

    Raises:
        MissingDependencyError: the data are images and Pillow is not installed.
    """
    train = splits.get("train")
    others = {name: frame for name, frame in splits.items() if name != "train" and name not in held_out}
    if train is None or len(train) < FEWEST_ROWS:
        return []
    return [
        _compared(name, _sampled(train, seed, name), _sampled(frame, seed, name), seed)
        for name, frame in others.items()
        if len(frame) >= FEWEST_ROWS
    ]


def covariate_shift(found: Iterable[Shift]) -> Iterable[DataFinding]:
    """Held-out splits whose inputs can be told from the training rows."""
    for shift in found:
        if shift.area < WARN_AREA or shift.area - STANDARD_ERRORS * shift.error <= 0.5:
            continue
        words = (
            say("; most typical of {split}: {words}", split=shift.split, words=", ".join(shift.typical))
            if shift.typical
            else ""
        )
        yield DataFinding(
            "covariate_shift",
            "warning",
            say(
                "The rows of {split} look different from those of train: a plain classifier tells them apart with an "
                "area under the ROC curve of {area:.2f} ± {error:.2f} (0.5: not at all){words}.",
                split=shift.split,
                area=shift.area,
                error=shift.error,
                words=words,
            ),
            {**asdict(shift), "limit": WARN_AREA},
            say(
                "Make sure that {split} is what the model will meet; if it is, add rows of that kind to train, else "
                "draw it from the same source as train.",
                split=shift.split,
            ),
        )


def area_under_curve(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Area under the ROC curve and its standard error (Hanley & McNeil 1982, Radiology 143:29).

    Args:
        scores: higher speaks for positive, `[n]`.
        positive: `[n]`, with rows of both kinds.
    """
    from scipy.stats import rankdata

    first, second = int(positive.sum()), int((~positive).sum())
    area = (rankdata(scores)[positive].sum() - first * (first + 1) / 2) / (first * second)
    both_above, one_above_both = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (first - 1) * (both_above - area**2) + (second - 1) * (one_above_both - area**2)
    return float(area), math.sqrt(max(0.0, variance) / (first * second))


def _compared(split: str, train: pd.DataFrame, other: pd.DataFrame, seed: int) -> Shift:
    features, names, kept = _features(train, other)
    if features is None or min(kept.sum(), (~kept).sum()) < FEWEST_ROWS:
        return Shift(split, 0.5, 0.0, (len(train), len(other)))
    scores = _held_out_scores(features, kept, stream_seed(seed, "shift", split) % 2**32)
    area, error = area_under_curve(scores, kept)
    weights = _fitted(features, kept).coef_[0]
    strongest = np.argsort(-weights, kind="stable")[:WORDS]
    typical = tuple(names[place] for place in strongest if weights[place] > 0)
    return Shift(split, area, error, (int((~kept).sum()), int(kept.sum())), typical)


def _held_out_scores(features: Any, positive: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
    """The score of each row by a classifier that did not learn from it, ranked within its fold, `[n]`."""
    from scipy.stats import rankdata
    from sklearn.model_selection import StratifiedKFold

    scores = np.zeros(len(positive))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for learnt, judged in folds.split(np.zeros(len(positive)), positive):
        found = _fitted(features[learnt], positive[learnt]).decision_function(features[judged])
        # Scores of different classifiers have different scales.
        scores[judged] = rankdata(found) / len(judged)
    return scores


def _fitted(features: Any, positive: NDArray[np.bool_]) -> Any:
    """A logistic regression; not to converge is all right."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(class_weight="balanced", max_iter=50).fit(features, positive)


def _features(train: pd.DataFrame, other: pd.DataFrame) -> tuple[Any, list[str], NDArray[np.bool_]]:
    """Features `[n, features]`, their names, and which rows are held-out ones `[n]`."""
    if "image" in train:
        return _image_numbers([*train["image"], *other["image"]], len(train))
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [*_texts(train), *_texts(other)]
    positive = np.arange(len(texts)) >= len(train)
    vectorizer = TfidfVectorizer(**units(texts), sublinear_tf=True, min_df=2, max_features=MAX_FEATURES)
    try:
        features = vectorizer.fit_transform(texts).tocsr()
    except ValueError:  # no word occurs twice
        return None, [], positive
    return features, [str(word) for word in vectorizer.get_feature_names_out()], positive


def _image_numbers(paths: list[str], first: int) -> tuple[Any, list[str], NDArray[np.bool_]]:
    """Size, colour mode and the colours of the thumbnail, standardised."""
    seen = image_features(paths)
    grey = np.array([mode in ("1", "L", "LA", "I;16") for mode in seen.modes], np.float64)
    numbers = np.concatenate(
        [np.log(np.maximum(seen.sizes, 1)), grey[:, None], seen.mean_colours, seen.colours], axis=1
    )
    names = ["width", "height", "grey", "mean red", "mean green", "mean blue"]
    names += [f"colour {place}" for place in range(seen.colours.shape[1])]
    scaled = (numbers - numbers.mean(axis=0)) / (numbers.std(axis=0) + 1e-6) if len(numbers) else numbers
    # Many correlated colours: kept small beside each other, they overfit less.
    return scaled / math.sqrt(scaled.shape[1]), names, seen.places >= first


def _texts(frame: pd.DataFrame) -> list[str]:
    texts = [str(text)[:TEXT_CHARACTERS] for text in frame["text"]]
    if "text_pair" not in frame:
        return texts
    return [f"{text} {str(other)[:TEXT_CHARACTERS]}" for text, other in zip(texts, frame["text_pair"], strict=True)]


def _sampled(frame: pd.DataFrame, seed: int, split: str) -> pd.DataFrame:
    most = MAX_IMAGES if "image" in frame else MAX_ROWS
    if len(frame) <= most:
        return frame
    return frame.iloc[np.sort(stream(seed, "shift", split, len(frame)).permutation(len(frame))[:most])]
