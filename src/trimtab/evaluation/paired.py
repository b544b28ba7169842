"""Is the difference of two models on the same rows beyond chance: a paired bootstrap, and McNemar's exact test.

The bootstrap draws rows and judges both models on each draw: what is hard or easy for both falls out of the difference.
McNemar's test (McNemar 1947, Psychometrika 12) looks only at the rows that one of the two gets right: if both were
equally good, each of the two would have half of them, but for chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trimtab.core.errors import DataError
from trimtab.core.files import jsonable
from trimtab.core.seeds import stream
from trimtab.evaluation.bootstrap import difference_interval, resample_predictions, resample_probabilities
from trimtab.evaluation.paired_rows import SharedRows
from trimtab.evaluation.paired_words import told
from trimtab.evaluation.result import Interval
from trimtab.metrics.classification import (
    Floats,
    Ints,
    calibration_gaps,
    classification_metrics,
    confusion_matrix,
    get_metric,
    row_log_losses,
)

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["first", "second", "undecided", "equal"]
EXAMPLES = 20


@dataclass(frozen=True)
class PairedResult:
    """Two models judged on the same rows.

    Args:
        first, second: their names.
        metric: the metric compared.
        higher_is_better: which way it goes.
        rows: rows that both were judged on.
        first_value, second_value: the metric of each on these rows.
        difference: second − first with its interval, from paired resamples.
        confidence: level of the interval.
        both_right, first_only, second_only, both_wrong: rows by who predicts them right.
        changed: rows with another prediction, right or wrong.
        p_value: McNemar's exact test of the rows right, two-sided.
        verdict: who is better beyond chance; `undecided` where the interval holds 0, `equal` where no figure differs.
        sentence: the same for people.
        notes: what to know when reading the numbers.
        examples: rows that one of the two gets right, with both predictions; at most 20.
    """

    first: str
    second: str
    metric: str
    higher_is_better: bool
    rows: int
    first_value: float
    second_value: float
    difference: Interval
    confidence: float
    both_right: int
    first_only: int
    second_only: int
    both_wrong: int
    changed: int
    p_value: float
    verdict: Verdict
    sentence: str = ""
    notes: tuple[str, ...] = ()
    examples: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; NaN becomes None."""
        plain: dict[str, Any] = jsonable(asdict(self))
        return plain


def mcnemar(first_only: int, second_only: int) -> float:
    """The exact two-sided p-value of McNemar's test; 1 where no row tells the two apart.

    Args:
        first_only: rows that only the first model gets right.
        second_only: rows that only the second gets right.
    """
    from scipy.special import bdtr

    discordant = first_only + second_only
    if not discordant:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(first_only, second_only), discordant, 0.5)))


def holm(p_values: list[float]) -> list[float]:
    """P-values for several tests at once, so that one false alarm among all stays as rare as in one (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def paired_test(
    shared: SharedRows, names: tuple[str, str], *, metric: str, confidence: float = 0.95, samples: int = 2000
) -> PairedResult:
    """Compare two models on the rows that both were judged on.

    Args:
        shared: the rows with both predictions.
        names: what the two are called.
        metric: name in `METRICS`.
        confidence: level of the interval, in (0, 1).
        samples: number of resamples.

    Raises:
        UnknownNameError: no metric goes by that name.
        DataError: the metric needs probabilities that the predictions do not hold.
    """
    higher = get_metric(metric).higher_is_better
    truth = shared.classes(shared.first["label"])
    first, second = (shared.classes(frame["prediction"]) for frame in (shared.first, shared.second))
    values, drawn = _figures(shared, truth, (first, second), metric, samples)
    difference = difference_interval(values[1] - values[0], drawn[1] - drawn[0], len(truth), confidence)
    right = first == truth, second == truth
    first_only, second_only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    result = PairedResult(
        first=names[0],
        second=names[1],
        metric=metric,
        higher_is_better=higher,
        rows=len(truth),
        first_value=values[0],
        second_value=values[1],
        difference=difference,
        confidence=confidence,
        both_right=int((right[0] & right[1]).sum()),
        first_only=first_only,
        second_only=second_only,
        both_wrong=int((~right[0] & ~right[1]).sum()),
        changed=int((first != second).sum()),
        p_value=mcnemar(first_only, second_only),
        verdict=_verdict(difference, higher, bool((first != second).any())),
        notes=shared.notes,
        examples=_examples(shared, right[0] != right[1]),
    )
    return told(result)


def _figures(
    shared: SharedRows, truth: Ints, predicted: tuple[Ints, Ints], metric: str, samples: int
) -> tuple[tuple[float, float], tuple[Floats, Floats]]:
    """The metric of both, on all rows and on the same resamples [samples]."""
    size = len(shared.labels)
    rng = stream(0, "bootstrap", "paired")
    if get_metric(metric).from_confusion:
        both = {"first": predicted[0], "second": predicted[1]}
        drawn = resample_predictions(truth, both, size, samples, rng)
        values = [float(classification_metrics(confusion_matrix(truth, ids, size))[metric]) for ids in predicted]
        return (values[0], values[1]), (drawn["first"][metric], drawn["second"][metric])
    single = [_of_probabilities(shared, frame, truth, metric, samples) for frame in (shared.first, shared.second)]
    return (single[0][0], single[1][0]), (single[0][1], single[1][1])


def _of_probabilities(
    shared: SharedRows, frame: pd.DataFrame, truth: Ints, metric: str, samples: int
) -> tuple[float, Floats]:
    """Log loss or calibration error of one model; a fresh stream each, so that both see the same draws."""
    columns = [f"p_{label}" for label in shared.labels]
    if any(column not in frame for column in columns):
        raise DataError(
            f"The predictions hold no probability for each label, which {metric} needs.",
            remedy="Compare in a metric that predictions alone decide, such as --metric macro_f1.",
        )
    probabilities = frame[columns].to_numpy()
    losses = row_log_losses(truth, probabilities)
    bins, gaps = calibration_gaps(truth, probabilities)
    drawn = resample_probabilities(losses, bins, gaps, samples, stream(0, "bootstrap", "paired"))[metric]
    whole = {"log_loss": losses.mean(), "ece": np.abs(np.bincount(bins, weights=gaps)).sum() / len(gaps)}
    return float(whole[metric]), drawn


def _verdict(difference: Interval, higher: bool, any_changed: bool) -> Verdict:
    if math.isnan(difference.value):
        return "undecided"
    if difference.value == difference.low == difference.high == 0 and not any_changed:
        return "equal"
    if difference.low > 0:
        return "second" if higher else "first"
    if difference.high < 0:
        return "first" if higher else "second"
    return "undecided"


def _examples(shared: SharedRows, chosen: Any) -> tuple[Mapping[str, Any], ...]:
    """Rows that only one of the two gets right, as they stand in the file."""
    places = np.flatnonzero(chosen)[:EXAMPLES]
    kept = [name for name in ("row", "source", "text", "text_pair", "image", "label") if name in shared.first]
    rows = shared.first.iloc[places][kept].to_dict("records")
    predictions = (frame["prediction"].to_numpy()[places] for frame in (shared.first, shared.second))
    return tuple(
        {**{str(key): value for key, value in row.items()}, "first": first, "second": second}
        for row, first, second in zip(rows, *predictions, strict=True)
    )
