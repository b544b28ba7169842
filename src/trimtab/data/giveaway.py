"""Does something trivial give the label away: one word, the length, one column of a pair, the size of an image?

A rule of one feature ("the word X stands in it" -> label) is a giveaway when it holds for most rows of a class and for
nearly no others: Youden's J, the share of the class's rows that it holds for less the share of the other rows, reaches
`MIN_J`. A word that a class is about rarely gets there: on the sets we tried, the highest was 0.89 ("how many" and
questions for a count), and rules of that kind decide few rows in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.core.said import say, together
from trimtab.core.seeds import stream
from trimtab.data.findings import DataFinding, counted, percent
from trimtab.data.giveaway_rules import Part, Rule, best_rules, holds, read_images, read_texts, value_table

MAX_ROWS = 10_000
MAX_CHARACTERS = 2_000_000
"""Most characters of training texts that are read, which bounds the time to seconds."""
TEXT_CHARACTERS = 5_000
MAX_IMAGES = 1_000
MAX_RULES = 20
MAX_LISTED = 10
EXCERPT = 120
WARN_GAIN = 0.8
"""Share of the errors of always naming the commonest class that the rules take away, from which we warn. Our choice."""


@dataclass(frozen=True)
class Giveaways:
    """What `find_giveaways` found.

    Args:
        rules: the strongest first; empty where nothing gives a label away.
        rows: training rows that were looked at.
        right: share of them that the rules alone put right.
        majority: share of the commonest class among them.
        held_out: held-out split -> share of its rows that the rules put right.
        listed: some rows, with `split`, `row`, `source`, `label`, `content` and the rule that holds for them.
    """

    rules: tuple[Rule, ...] = ()
    rows: int = 0
    right: float = 0.0
    majority: float = 0.0
    held_out: Mapping[str, float] | None = None
    listed: tuple[Mapping[str, Any], ...] = ()

    @property
    def gain(self) -> float:
        """Share of the errors of always naming the commonest class that the rules take away."""
        return max(0.0, (self.right - self.majority) / (1 - self.majority)) if self.majority < 1 else 0.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Giveaways:
        """What `asdict` and JSON made plain."""
        rules = tuple(Rule(**rule) for rule in values["rules"])
        return cls(**{**values, "rules": rules, "listed": tuple(values["listed"])})


def find_giveaways(splits: Mapping[str, pd.DataFrame], *, seed: int = 0) -> Giveaways:
    """Search the training rows for rules of one feature that give the label away, and try them on the other splits.

    Args:
        splits: canonical frames with `text` (and `text_pair`) or `image`, `label`, `row`, `source`.
        seed: seed of the sample of rows, where there are many.

    Raises:
        MissingDependencyError: the data are images and Pillow is not installed.
    """
    train = splits.get("train")
    if train is None or train["label"].nunique() < 2:
        return Giveaways()
    part = _read(_sampled(train, seed))
    rules = best_rules(part)[:MAX_RULES]
    tables = [table for name in part.values if (table := value_table(part, name)) is not None]
    if not rules and not tables:
        return Giveaways()
    labels = part.frame["label"].to_numpy()
    majority = float(pd.Series(labels).value_counts(normalize=True).iloc[0])
    default = _default(rules, part)
    others = {name: _read(_sampled(frame, seed)) for name, frame in splits.items() if name != "train" and len(frame)}
    right = [_right(rules, default, part), *(table.right for table in tables)]
    return Giveaways(
        rules=(*tables, *rules),
        rows=len(part.frame),
        right=max(right),
        majority=majority,
        held_out={name: _right(rules, default, other) for name, other in others.items()} if rules else {},
        listed=tuple(_listed(rules, part)),
    )


def giveaway(found: Giveaways) -> Iterable[DataFinding]:
    """Rules of one feature that tell the label."""
    if not found.rules:
        return
    first, more = found.rules[0], len(found.rules) - 1
    further = say("So do {rules} further rules.", rules=more) if more else ""
    together_right = say(
        "Together they would put {right} of the training rows right; the commonest class has {majority}.",
        right=percent(found.right),
        majority=percent(found.majority),
    )
    yield DataFinding(
        "giveaway",
        "warning" if found.gain >= WARN_GAIN else "info",
        together(_sentence(first), further, together_right),
        {
            "kind": first.kind,
            "rules": [{**asdict(rule), "what": rule.what} for rule in found.rules],
            "rows": found.rows,
            "right": found.right,
            "majority": found.majority,
            "gain": found.gain,
            "held_out": dict(found.held_out or {}),
            "listed": [dict(row) for row in found.listed],
        },
        say(
            "If that comes from how the data were made (a template, a marker, a source), remove it from all rows, or "
            "the model learns nothing else; if it is what the class is about, and will be there in use, leave it."
        ),
    )


def _sentence(rule: Rule) -> str:
    if not rule.label:
        return say(
            "The {what} alone tells the label of {share} of the training rows.",
            what=rule.what,
            share=percent(rule.right),
        )
    return say(
        "{what} gives the label {label!r} away: so it is in {own} of its training rows, and in {elsewhere} of the "
        "others.",
        what=rule.what,
        label=rule.label,
        own=counted(rule.rows, rule.of),
        elsewhere=counted(rule.elsewhere, rule.others),
    )


def _sampled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    most = MAX_IMAGES if "image" in frame else MAX_ROWS
    if "text" in frame:
        length = frame["text"].str.len().clip(upper=TEXT_CHARACTERS).mean()
        most = min(most, max(1_000, int(MAX_CHARACTERS / max(1.0, float(length)))))
    if len(frame) <= most:
        return frame
    chosen = np.sort(stream(seed, "giveaway").permutation(len(frame))[:most])
    return frame.iloc[chosen].reset_index(drop=True)


def _read(frame: pd.DataFrame) -> Part:
    return read_images(frame) if "image" in frame else read_texts(frame, TEXT_CHARACTERS)


def _default(rules: Sequence[Rule], part: Part) -> str:
    """The commonest label among the rows for which no rule holds, or else of all."""
    left = ~np.any([holds(rule, part) for rule in rules], axis=0) if rules else np.ones(len(part.frame), bool)
    labels = part.frame["label"][left] if left.any() else part.frame["label"]
    return str(labels.value_counts().index[0])


def _right(rules: Sequence[Rule], default: str, part: Part) -> float:
    """Share of the rows that get their label from the first rule that holds, or else from `default`."""
    named: NDArray[Any] = np.full(len(part.frame), default, dtype=object)
    for rule in reversed(rules):
        named[holds(rule, part)] = rule.label
    return float((named == part.frame["label"].to_numpy()).mean()) if len(named) else 0.0


def _listed(rules: Sequence[Rule], part: Part) -> Iterable[dict[str, Any]]:
    for rule in rules[: MAX_LISTED // 2]:
        own = np.flatnonzero(holds(rule, part) & (part.frame["label"].to_numpy() == rule.label))
        for place in own[:2]:
            row = part.frame.iloc[int(place)]
            yield {
                "split": "train",
                "row": int(row["row"]),
                "source": str(row["source"]),
                "label": rule.label,
                "content": str(row["image"] if "image" in part.frame else row["text"])[:EXCERPT],
                "rule": rule.what,
            }
