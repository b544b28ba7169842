"""Before and after, side by side: what was kept and what was lost."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from trimtab.core.files import jsonable
from trimtab.core.said import listed, origins, say
from trimtab.core.seeds import stream
from trimtab.evaluation.bootstrap import percentile_interval
from trimtab.evaluation.result import Interval
from trimtab.evaluation.retention.state import ClassLosses, RetentionState, TextLosses
from trimtab.metrics.similarity import Floats, linear_cka, resample_agreement, resample_spearman, spearman

_KINDS = {"masked": "masked-LM", "causal": "causal-LM"}


@dataclass(frozen=True)
class Change:
    """A number of the pretrained and of the fine-tuned model, from the same rows and resamples.

    Args:
        before, after: with their intervals.
        difference: after less before.
    """

    before: Interval
    after: Interval
    difference: Interval


@dataclass(frozen=True)
class RetentionResult:
    """What a fine-tuned model kept of the pretrained one.

    Args:
        confidence: level of the intervals.
        rows: general texts or images that were compared.
        rank_agreement: Spearman's correlation of the two models' cosine similarities over all pairs of these rows.
        cka: linear CKA (debiased) of the two models' representations after each block; 1 where nothing but a
            rotation and a scale changed.
        language_kind: `masked` or `causal`; empty where there is no pretraining loss.
        pretraining_loss: mean over the predicted tokens, in nats.
        perplexity: its exponential, before and after.
        tokens: number of predicted tokens.
        pair_spearman: Spearman's correlation of cosine similarities with the scores of the pairs.
        pairs: number of scored pairs.
        source_loss: mean cross-entropy on images of the source classes, in nats.
        source_accuracy: share of these images told right, before and after.
        images: their number.
        summary: one sentence for people.
        notes: what could not be measured and why.
    """

    confidence: float
    rows: int = 0
    rank_agreement: Interval | None = None
    cka: dict[str, float] = field(default_factory=dict)
    language_kind: str = ""
    pretraining_loss: Change | None = None
    perplexity: tuple[float, float] | None = None
    tokens: int = 0
    pair_spearman: Change | None = None
    pairs: int = 0
    source_loss: Change | None = None
    source_accuracy: tuple[float, float] | None = None
    images: int = 0
    summary: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether anything could be."""
        return bool(self.rank_agreement or self.cka or self.pair_spearman or self.pretraining_loss or self.source_loss)

    @property
    def lowest_cka(self) -> tuple[str, float] | None:
        """The block that drifted most, with its CKA; None where no block has a number."""
        finite = {name: value for name, value in self.cka.items() if math.isfinite(value)}
        return min(finite.items(), key=lambda item: item[1]) if finite else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; NaN becomes None. `said` tells what the summary was made of."""
        plain: dict[str, Any] = jsonable({**asdict(self), "said": origins(summary=self.summary)})
        return plain


def compare(
    before: RetentionState,
    after: RetentionState,
    *,
    scores: Floats | None = None,
    confidence: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
    notes: tuple[str, ...] = (),
) -> RetentionResult:
    """Compare two states of one probe.

    Args:
        before: of the pretrained model.
        after: of the fine-tuned model.
        scores: the probe's scores of its pairs, `[pairs]`.
        confidence: level of the intervals.
        samples: resamples behind each interval.
        seed: the run's seed.
        notes: the probe's notes.
    """
    shared = [name for name in before.blocks if name in after.blocks]
    rows = len(next(iter(before.blocks.values()))) if before.blocks else 0
    cka = {name: linear_cka(before.blocks[name], after.blocks[name], debiased=True) for name in shared}
    values: dict[str, Any] = {
        "rows": rows,
        "rank_agreement": _agreement(before, after, confidence, samples, seed),
        "cka": cka,
        "notes": (*notes, *_undefined(cka)),
    }
    if before.language is not None and after.language is not None:
        values |= _language(before.language, after.language, confidence, samples, seed)
    if before.pairs is not None and after.pairs is not None and scores is not None:
        change = _pairs(scores, before.pairs, after.pairs, confidence, samples, seed)
        values |= {"pair_spearman": change, "pairs": len(scores)}
    if before.source is not None and after.source is not None:
        values |= _source(before.source, after.source, confidence, samples, seed)
    result = RetentionResult(confidence=confidence, **values)
    return replace(result, summary=summarise(result))


def summarise(result: RetentionResult) -> str:
    """The result in one sentence."""
    parts = []
    if result.rank_agreement is not None:
        parts.append(say("rank agreement {value}", value=_number(result.rank_agreement.value)))
    if result.pair_spearman is not None:
        parts.append(say("Spearman with the pairs' scores {change}", change=_arrow(result.pair_spearman)))
    if result.pretraining_loss is not None:
        kind, change = _KINDS[result.language_kind], _arrow(result.pretraining_loss)
        parts.append(say("{kind} loss {change}", kind=kind, change=change))
    if result.source_loss is not None:
        parts.append(say("loss on source classes {change}", change=_arrow(result.source_loss)))
    lowest = result.lowest_cka
    if lowest is not None:
        parts.append(say("CKA lowest in {block} ({value})", block=lowest[0], value=_number(lowest[1])))
    if not parts:
        return say("Retention: nothing could be measured.")
    return say("Retention: {parts}.", parts=listed(*parts))


def _undefined(cka: dict[str, float]) -> list[str]:
    """A sentence on the blocks that have no CKA: a representation has collapsed, which no number would show."""
    blocks = [name for name, value in cka.items() if not math.isfinite(value)]
    if not blocks:
        return []
    return [
        f"No CKA for {', '.join(blocks)}: before or after training, every row has the same representation there, or "
        "one that is not finite."
    ]


def _agreement(
    before: RetentionState, after: RetentionState, confidence: float, samples: int, seed: int
) -> Interval | None:
    # Pairs of n rows: n (n − 1) / 2.
    rows = round((1 + math.sqrt(1 + 8 * len(before.similarities))) / 2)
    if not len(before.similarities):
        return None
    value = spearman(before.similarities, after.similarities)
    rng = stream(seed, "retention", "agreement")
    resampled = resample_agreement(before.similarities, after.similarities, rows, samples, rng)
    return percentile_interval(value, resampled, confidence)


def _language(before: TextLosses, after: TextLosses, confidence: float, samples: int, seed: int) -> dict[str, Any]:
    """Loss a token; whole texts are resampled, since the tokens of one belong together."""
    tokens = int(before.tokens.sum())
    if not tokens:
        return {}
    texts = len(before.tokens)
    times = stream(seed, "retention", "language").multinomial(texts, np.full(texts, 1 / texts), size=samples)
    drawn = (times @ before.tokens).astype(np.float64)
    # A resample without any predicted token has no loss.
    drawn[drawn == 0] = np.nan
    change = _change(
        (float(before.sums.sum() / tokens), times @ before.sums / drawn),
        (float(after.sums.sum() / tokens), times @ after.sums / drawn),
        confidence,
    )
    perplexity = (_exponential(change.before.value), _exponential(change.after.value))
    return {
        "language_kind": before.kind,
        "pretraining_loss": change,
        "perplexity": perplexity,
        "tokens": tokens,
    }


def _pairs(scores: Floats, before: Floats, after: Floats, confidence: float, samples: int, seed: int) -> Change:
    resampled = resample_spearman(
        scores, {"before": before, "after": after}, samples, stream(seed, "retention", "pairs")
    )
    return _change(
        (spearman(scores, before), resampled["before"]), (spearman(scores, after), resampled["after"]), confidence
    )


def _source(before: ClassLosses, after: ClassLosses, confidence: float, samples: int, seed: int) -> dict[str, Any]:
    images = len(before.losses)
    times = stream(seed, "retention", "source").multinomial(images, np.full(images, 1 / images), size=samples)
    change = _change(
        (float(before.losses.mean()), times @ before.losses / images),
        (float(after.losses.mean()), times @ after.losses / images),
        confidence,
    )
    accuracy = (float(before.right.mean()), float(after.right.mean()))
    return {"source_loss": change, "source_accuracy": accuracy, "images": images}


def _change(before: tuple[float, Floats], after: tuple[float, Floats], confidence: float) -> Change:
    """A change from (estimate, resamples) of both, the resamples in the same order."""
    return Change(
        before=percentile_interval(*before, confidence),
        after=percentile_interval(*after, confidence),
        difference=percentile_interval(after[0] - before[0], after[1] - before[1], confidence),
    )


def _exponential(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"


def _arrow(change: Change) -> str:
    sign = "+" if change.difference.value >= 0 else "−"
    moved = f"{sign}{_number(abs(change.difference.value))}"
    return f"{_number(change.before.value)} → {_number(change.after.value)} ({moved})"
