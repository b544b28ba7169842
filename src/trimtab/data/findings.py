"""The checks of the data report: each function looks at one thing, and returns what it found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from trimtab.config.recipe import DataSection
from trimtab.core.said import say, together
from trimtab.core.seeds import stream
from trimtab.data.duplicates import MAX_EXAMPLES, Duplicates, Shared
from trimtab.data.image_duplicates import ImageStatistics
from trimtab.data.tokens import TokenStatistics

Severity = Literal["info", "warning", "refuse"]
LabelCounts = dict[str, dict[str, int]]

WARN_REPEATED_SHARE = 0.05
WARN_LONGER_SHARE = 0.2
INFO_LONGER_SHARE = 0.01
WARN_IMBALANCE = 10.0
FEW_ROWS = 10
WARN_SHIFT = 0.1
SHIFT_DRAWS = 1_000
SHIFT_LEVEL = 0.01
WIDE_INTERVAL = 0.05
ASSUMED_ACCURACY = 0.9
NAMED = 10

_MODELS = {"Han": ("bert-base-chinese", "xlm-roberta-base")}
_OTHER_MODELS = ("xlm-roberta-base", "bert-base-multilingual-cased")


@dataclass(frozen=True)
class DataFinding:
    """One thing about the data that the user should know.

    Args:
        name: the kind of finding, e.g. `leakage`.
        severity: `info`; `warning`: results may mislead; `refuse`: training makes no sense, `--force` overrides.
        message: what was found, with numbers.
        evidence: the numbers and examples, plain JSON types.
        remedy: what to do about it.
    """

    name: str
    severity: Severity
    message: str
    evidence: dict[str, Any]
    remedy: str


def unknown_tokens(tokens: TokenStatistics, options: DataSection, model_name: str) -> Iterable[DataFinding]:
    """Too many tokens that the model does not know."""
    share = tokens.unknown_share
    if not share or share < min(options.warn_unknown_tokens, options.max_unknown_tokens):
        return
    refused = share >= options.max_unknown_tokens
    pieces = ", ".join(piece for piece, _ in tokens.top_unknown[:5])
    script = say("Most letters in them are {script}.", script=tokens.script) if tokens.script else ""
    if model_name == "starter":
        reader: str = say("{model}, which reads English only", model=model_name)
    else:
        reader = model_name or say("the model")
    names = [name for name in _MODELS.get(tokens.script, _OTHER_MODELS) if not model_name.endswith(name)]
    first, *others = (f"--model {name}" for name in names)
    models: str = first
    for other in others:
        models = say("{model} or {other}", model=models, other=other)
    yield DataFinding(
        "unknown_tokens",
        "refuse" if refused else "warning",
        together(
            say(
                "{share} of the tokens (such as {pieces}) are unknown to {reader}.",
                share=percent(share),
                pieces=pieces,
                reader=reader,
            )
            if pieces
            else say("{share} of the tokens are unknown to {reader}.", share=percent(share), reader=reader),
            script,
        ),
        {
            "share": share,
            "unknown": tokens.unknown,
            "tokens": tokens.tokens,
            "script": tokens.script,
            "top": [list(item) for item in tokens.top_unknown],
            "limit": options.max_unknown_tokens if refused else options.warn_unknown_tokens,
        },
        say(
            "Choose a model that reads this language, for example {models}, teach this one the tokens with "
            "--extend-vocabulary, or train anyway with --force.",
            models=models,
        )
        if refused
        else say(
            "Choose a model that reads this language, for example {models}, if the unknown tokens carry meaning.",
            models=models,
        ),
    )


def long_texts(tokens: TokenStatistics) -> Iterable[DataFinding]:
    """Rows that the model reads only in part."""
    share = tokens.share_longer or 0.0
    if share >= INFO_LONGER_SHARE:
        yield DataFinding(
            "long_texts",
            "warning" if share >= WARN_LONGER_SHARE else "info",
            say(
                "{share} of the rows are longer than the {most} tokens that the model reads; the rest of them is cut "
                "off (median {median:.0f}, longest {longest} tokens).",
                share=percent(share),
                most=tokens.max_length,
                median=tokens.median,
                longest=tokens.maximum,
            ),
            {"share": share, "max_length": tokens.max_length, "median": tokens.median, "maximum": tokens.maximum},
            say(
                "Put what decides the label first, shorten the texts, or choose a model that reads more tokens "
                "(--model)."
            ),
        )


def repeated_rows(duplicates: Duplicates) -> Iterable[DataFinding]:
    """Training rows that repeat an earlier one."""
    train = duplicates.train
    total = train.equal + train.near
    if total:
        share = total / train.rows
        yield DataFinding(
            "duplicates_in_train",
            "warning" if share >= WARN_REPEATED_SHARE else "info",
            together(
                say(
                    "{rows} training rows repeat an earlier one: {equal:,} equal it and {near} nearly do.",
                    rows=counted(total, train.rows),
                    equal=train.equal,
                    near=at_least(train.near, duplicates),
                ),
                searched(duplicates),
            ),
            {**asdict(train), "share": share, "examples": list(train.examples)},
            say(
                "Repeated rows weigh more than the others; remove them from the file unless they are as frequent in "
                "use."
            ),
        )


def conflicting_labels(duplicates: Duplicates) -> Iterable[DataFinding]:
    """Equal rows with different labels."""
    if duplicates.conflict_groups:
        shown = [_conflict_line(conflict.rows) for conflict in duplicates.conflicts[:MAX_EXAMPLES]]
        end = " …" if duplicates.conflict_groups > len(shown) else "."
        yield DataFinding(
            "conflicting_labels",
            "warning",
            say(
                "{rows:,} rows have the same content as another but a different label ({groups:,} groups): "
                "{shown}{end}",
                rows=duplicates.conflict_rows,
                groups=duplicates.conflict_groups,
                shown="; ".join(shown),
                end=end,
            ),
            {
                "groups": duplicates.conflict_groups,
                "rows": duplicates.conflict_rows,
                "listed": [asdict(conflict) for conflict in duplicates.conflicts],
            },
            say("Decide on one label for each, or remove them: no model can get them all right."),
        )


def _conflict_line(rows: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{row['split']} row {row['row']} {row['label']!r}" for row in rows[:4])


def leakage(duplicates: Duplicates, held_out: Sequence[str]) -> Iterable[DataFinding]:
    """Held-out rows that stand in an earlier split too."""
    for shared in duplicates.shared:
        if shared.equal + shared.near:
            yield _leak(shared, duplicates, held_out)


def _leak(shared: Shared, duplicates: Duplicates, held_out: Sequence[str]) -> DataFinding:
    from_train = shared.other == "train"
    if shared.split in held_out:
        remedy = say(
            "Remove the repeated rows from the file, or give those that belong together the same value in a column and "
            "name it with --group, so that they stay in one split."
        )
    else:
        remedy = say(
            "Remove these rows from the {other} or from the {split} data.", other=shared.other, split=shared.split
        )
    purpose = say("the score rewards memory") if from_train else say("the two scores are not independent")
    return DataFinding(
        "leakage" if from_train else "shared_held_out",
        "warning",
        together(
            say(
                "{rows} {split} rows stand in {other} too, so that {purpose}: {equal:,} equal ({identical:,} of them "
                "identical) and {near} nearly equal.",
                rows=counted(shared.equal + shared.near, shared.rows),
                split=shared.split,
                other=shared.other,
                purpose=purpose,
                equal=shared.equal,
                identical=shared.identical,
                near=at_least(shared.near, duplicates),
            ),
            searched(duplicates) if from_train else "",
        ),
        {**asdict(shared), "share": shared.share, "examples": list(shared.examples)},
        remedy,
    )


def imbalance(labels: LabelCounts) -> Iterable[DataFinding]:
    """Classes of very different sizes, and classes with very few rows, in train."""
    train = labels.get("train", {})
    ratio = imbalance_ratio(train)
    if ratio is not None and ratio >= WARN_IMBALANCE:
        most, least = max(train, key=lambda name: train[name]), min(train, key=lambda name: train[name])
        yield DataFinding(
            "imbalance",
            "warning",
            say(
                "The largest class, {largest!r} ({most:,} rows), has {ratio:.0f} times the rows of the smallest, "
                "{smallest!r} ({least:,}): accuracy can be high with the small classes all wrong.",
                largest=most,
                most=train[most],
                ratio=ratio,
                smallest=least,
                least=train[least],
            ),
            {"ratio": ratio, "largest": most, "smallest": least},
            say("Judge by macro_f1 (--metric macro_f1), and add rows of the small classes."),
        )
    few = {name: count for name, count in train.items() if count < FEW_ROWS}
    if few:
        names = ", ".join(f"{name!r} ({count})" for name, count in list(few.items())[:NAMED])
        yield DataFinding(
            "few_rows",
            "warning",
            say(
                "{few} of {classes} classes have fewer than {limit} training rows: {names}{more}.",
                few=len(few),
                classes=len(train),
                limit=FEW_ROWS,
                names=names,
                more=", …" if len(few) > NAMED else "",
            ),
            {"classes": few, "limit": FEW_ROWS},
            say("Add rows of these classes, or merge them with a neighbouring class."),
        )


def imbalance_ratio(counts: dict[str, int]) -> float | None:
    """Rows of the largest class over rows of the smallest; None without rows, infinite when a class has none."""
    if not counts or not max(counts.values()):
        return None
    least = min(counts.values())
    return max(counts.values()) / least if least else math.inf


def label_shift(labels: LabelCounts, seed: int) -> Iterable[DataFinding]:
    """A held-out split whose label distribution is not that of train.

    Distance: total variation, half the sum of absolute differences of the shares. It counts from `WARN_SHIFT`, when at
    most `SHIFT_LEVEL` of the splits of the same sizes drawn from the pooled rows are as far apart.
    """
    train = np.array(list(labels.get("train", {}).values()), dtype=np.int64)
    for split in (name for name in labels if name != "train"):
        held = np.array(list(labels[split].values()), dtype=np.int64)
        if not train.sum() or not held.sum():
            continue
        distance = float(np.abs(held / held.sum() - train / train.sum()).sum() / 2)
        if distance < WARN_SHIFT or _chance_of(distance, train, held, seed, split) > SHIFT_LEVEL:
            continue
        yield DataFinding(
            "label_shift",
            "warning",
            say(
                "The labels of {split} are distributed otherwise than those of train: {share} of the rows would have "
                "to change their label for the shares to be equal.",
                split=split,
                share=percent(distance),
            ),
            {"split": split, "total_variation": distance},
            say(
                "Make sure that {split} is what the model will meet; if it is, bring the training rows nearer to it.",
                split=split,
            ),
        )


def _chance_of(distance: float, train: Any, held: Any, seed: int, split: str) -> float:
    """Share of random splits of the pooled rows whose total variation distance is at least `distance`."""
    pooled, size = train + held, int(held.sum())
    draws = stream(seed, "label shift", split).multivariate_hypergeometric(pooled, size, size=SHIFT_DRAWS)
    apart = np.abs(draws / size - (pooled - draws) / train.sum()).sum(axis=1) / 2
    return float((apart >= distance - 1e-12).mean())


def small_held_out(rows: dict[str, int], held_out: Sequence[str]) -> Iterable[DataFinding]:
    """Held-out splits on which an accuracy of 0.9 has an interval wider than ± 0.05."""
    for split in (name for name in rows if name != "train"):
        if not rows[split]:
            continue
        half = 1.96 * math.sqrt(ASSUMED_ACCURACY * (1 - ASSUMED_ACCURACY) / rows[split])
        if half > WIDE_INTERVAL:
            remedy = (
                say("To measure more finely, raise data.{split}_fraction with --set.", split=split)
                if split in held_out
                else say("To measure more finely, add rows to it.")
            )
            yield DataFinding(
                "small_held_out",
                "info",
                say(
                    "{split} has {rows:,} rows: the 95 % interval of an accuracy of {accuracy} is ± {half:.3f} wide "
                    "there, and differences within it mean nothing.",
                    split=split,
                    rows=rows[split],
                    accuracy=ASSUMED_ACCURACY,
                    half=half,
                ),
                {"split": split, "rows": rows[split], "half_width": half},
                remedy,
            )


def unreadable_images(images: ImageStatistics) -> Iterable[DataFinding]:
    """Files that cannot be decoded."""
    if images.unreadable:
        named = "; ".join(f"{path} ({reason})" for path, reason in images.unreadable[:MAX_EXAMPLES])
        end = " …" if len(images.unreadable) > MAX_EXAMPLES else "."
        yield DataFinding(
            "unreadable_images",
            "refuse",
            say("{count:,} images cannot be read: {named}{end}", count=len(images.unreadable), named=named, end=end),
            {"files": [list(item) for item in images.unreadable]},
            say("Remove or repair these files."),
        )


def percent(share: float) -> str:
    """A share as a percentage of two or more significant digits."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def counted(part: int, whole: int) -> str:
    """`12 of 400 (3 %)`."""
    return say("{part:,} of {whole:,} ({share})", part=part, whole=whole, share=percent(part / whole))


def at_least(near: int, duplicates: Duplicates) -> str:
    """A count of near-duplicates, which may be too low."""
    return f"{near:,}" if duplicates.complete else say("at least {count:,}", count=near)


def searched(duplicates: Duplicates) -> str:
    """A sentence on the part of the training rows that was searched, when not all were."""
    if duplicates.near_rows == duplicates.train_rows:
        return ""
    return say(
        "Near-duplicates were searched in {part:,} of {whole:,} distinct training rows.",
        part=duplicates.near_rows,
        whole=duplicates.train_rows,
    )
