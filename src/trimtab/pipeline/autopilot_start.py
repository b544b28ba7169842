"""What the autopilot settles before the first step: recipe and rows are changed before a model is built of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trimtab.config.load import with_inferred
from trimtab.config.origins import Origin, ResolvedRecipe
from trimtab.core.files import sha256_of
from trimtab.core.registry import CONDITIONS
from trimtab.data.dataset import Dataset, fingerprint
from trimtab.data.duplicates import Search, normalise
from trimtab.data.near_duplicates import near_pairs
from trimtab.data.report import DataReport
from trimtab.models.configs import load_config
from trimtab.models.hub import local_directory
from trimtab.monitor.autopilot import BEFORE_TRAINING
from trimtab.monitor.diagnose import diagnose
from trimtab.monitor.facts import Facts
from trimtab.monitor.findings import Finding
from trimtab.monitor.trace import Trace
from trimtab.pipeline.parts import Groundwork, lay_groundwork, text_context

# Of the training rows, the share that may be dropped at most (our choice).
MOST_DROPPED = 0.5
_BETWEEN_TEXTS = "\x1f"


@dataclass(frozen=True)
class Settled:
    """A run as the autopilot sets it out.

    Args:
        resolved: the recipe, with what was changed.
        ground: likewise.
        report: the data report, without what no longer holds.
        actions: fields of the `action` events that tell what was changed, to be written once the run has a record.
    """

    resolved: ResolvedRecipe
    ground: Groundwork
    report: DataReport
    actions: tuple[dict[str, Any], ...] = ()


def settle_before(resolved: ResolvedRecipe, ground: Groundwork, report: DataReport) -> Settled:
    """Apply the remedies that have to come before training; none unless the recipe wants the autopilot to act.

    Args:
        resolved: recipe with origins; may hold `auto`.
        ground: from `lay_groundwork`.
        report: the data report.
    """
    settled = Settled(resolved, ground, report)
    if resolved.recipe.monitor.autopilot != "act":
        return settled
    done = False
    for finding in known_at_the_start(settled):
        if finding.severity != "act":
            continue
        if finding.name == "truncated_texts":
            wanted = finding.change.get("task.max_length", "auto")
            settled = _with_values(settled, "longer_inputs", finding, {"task.max_length": wanted})
        elif finding.name == "frozen_part" and finding.change.get("strategy.train_head") is True:
            settled = _with_values(settled, "train_head", finding, {"strategy.train_head": True})
        # Once for all splits; a token that gives the label away is no matter of rows.
        elif finding.name == "leakage" and "equal" in finding.evidence and not done:
            done = True
            settled = _without_leaked_rows(settled, finding)
    return settled


def known_at_the_start(settled: Settled) -> list[Finding]:
    """The findings that recipe and data report alone give, of those that a rule answers."""
    names = {name for rule in BEFORE_TRAINING for name in rule.findings}
    trace = Trace(_facts(settled), table=settled.ground.dataset.splits.get)
    for found in settled.report.findings:
        trace.add({"type": "finding", "step": 0, "by": "data", **_plain(found)})
    return diagnose(trace, [CONDITIONS.get(name)() for name in CONDITIONS.names() if name in names])


def _plain(found: Any) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("name", "severity", "message", "evidence", "remedy")}


def _facts(settled: Settled) -> Facts:
    ground, recipe = settled.ground, settled.resolved.recipe
    splits, labels = ground.dataset.splits, ground.dataset.labels
    counts = {name: [int((frame["label"] == label).sum()) for label in labels] for name, frame in splits.items()}
    return Facts(
        model=recipe.model.name,
        strategy=recipe.strategy.name,
        task=ground.task.name,
        metric=ground.task.primary_metric(recipe.evaluation.metric),
        rows={name: len(frame) for name, frame in splits.items()},
        labels=labels,
        label_counts=counts,
        max_length=ground.task.max_length(text_context(ground.context, ground.strategy)) or 0,
        untrained=("head",) if _leaves_new_head(settled) else (),
        recipe=settled.resolved.values(),
    )


def _leaves_new_head(settled: Settled) -> bool:
    """Whether the strategy leaves the head frozen and the pretrained model has none for the task."""
    section = settled.resolved.recipe.strategy
    if section.name != "partial" or section.options.get("train_head", True):
        return False
    source, trust = settled.ground.source, settled.resolved.recipe.model.trust_remote_code
    config = load_config(
        source, local_directory(source, weights=False, trust_remote_code=trust), trust_remote_code=trust
    )
    wanted = settled.ground.task.auto_class.removeprefix("AutoModel")
    return not any(str(name).endswith(wanted) for name in getattr(config, "architectures", None) or ())


def _with_values(settled: Settled, remedy: str, finding: Finding, values: Mapping[str, Any]) -> Settled:
    """The recipe with other values, and what stands on it laid anew."""
    before = settled.resolved.values()
    changed = with_inferred(settled.resolved, values)
    origins: dict[str, Origin] = {**changed.origins, **dict.fromkeys(values, "autopilot")}
    resolved = replace(changed, origins=origins)
    action = _action(remedy, finding, {key: before.get(key) for key in values}, dict(values))
    ground = lay_groundwork(resolved.recipe, settled.ground.dataset)
    return replace(settled, resolved=resolved, ground=ground, actions=(*settled.actions, action))


def _without_leaked_rows(settled: Settled, finding: Finding) -> Settled:
    """The data without the training rows that held-out rows repeat."""
    dataset = settled.ground.dataset
    train = dataset.splits["train"]
    leaked = leaked_rows(dataset)
    kept = train.drop(index=train.index[leaked]).reset_index(drop=True)
    fits = len(leaked) <= MOST_DROPPED * len(train) and set(kept["label"]) == set(train["label"])
    if not len(leaked) or not fits:
        reason = "no training row equals a held-out one" if not len(leaked) else (
            f"{len(leaked):,} of {len(train):,} training rows are too many to be left out, or a class would lose all"
        )  # fmt: skip
        skipped = {"action": "autopilot_skip", "remedy": "drop_leaked_rows", "finding": "leakage", "reason": reason}
        return replace(settled, actions=(*settled.actions, skipped))
    changed = replace(
        dataset,
        splits={**dataset.splits, "train": kept},
        fingerprint={**dataset.fingerprint, "train": fingerprint(kept)},
        notes=(*dataset.notes, f"The autopilot dropped {len(leaked):,} training rows that held-out rows repeat."),
    )
    action = _action("drop_leaked_rows", finding, {"rows": len(train)}, {"rows": len(kept)})
    still = tuple(found for found in settled.report.findings if found.name != "leakage")
    return replace(
        settled,
        ground=replace(settled.ground, dataset=changed),
        report=replace(settled.report, findings=still, rows={**settled.report.rows, "train": len(kept)}),
        actions=(*settled.actions, action),
    )


def _action(remedy: str, finding: Finding, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {
        "action": "autopilot",
        "remedy": remedy,
        "finding": finding.name,
        "reason": finding.message,
        "before": before,
        "after": after,
    }


def leaked_rows(dataset: Dataset) -> np.ndarray:
    """Positions of the training rows that equal or nearly equal a held-out row, ascending `[n]`.

    Texts are compared as the data report does; of images, equal files count.
    """
    keys = {name: list(_keys(frame)) for name, frame in dataset.splits.items()}
    search = Search(dataset.splits, keys)
    held_out = {int(number) for name, numbers in search.of_row.items() if name != "train" for number in numbers}
    leaked = set(held_out)
    if "image" not in dataset.splits["train"]:
        pairs = near_pairs(search.contents)
        for first, second in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
            leaked |= {first} if second in held_out else set()
            leaked |= {second} if first in held_out else set()
    return np.flatnonzero(np.isin(search.of_row["train"], sorted(leaked)))


def _keys(frame: pd.DataFrame) -> Iterator[str]:
    """What a row is known by: equal rows have the same."""
    if "image" in frame:
        yield from (sha256_of(Path(path)) for path in frame["image"])
        return
    texts = frame["text"].map(normalise)
    if "text_pair" in frame:
        texts = texts + f" {_BETWEEN_TEXTS} " + frame["text_pair"].map(normalise)
    yield from texts


__all__ = ["Settled", "known_at_the_start", "leaked_rows", "settle_before"]
