"""The data report: what `trimtab check` shows, and what training refuses, before any model is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.core.files import jsonable
from trimtab.core.said import origins
from trimtab.data import findings
from trimtab.data.dataset import Dataset
from trimtab.data.duplicates import Duplicates
from trimtab.data.findings import DataFinding, percent
from trimtab.data.giveaway import giveaway
from trimtab.data.image_duplicates import ImageStatistics
from trimtab.data.report_cache import counted_tokens, giveaways, image_duplicates, shifts, text_duplicates
from trimtab.data.shift import covariate_shift
from trimtab.data.tokens import TokenStatistics

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from trimtab.core.cache import DiskCache

SEVERITIES = ("refuse", "warning", "info")
MAX_LABEL_LINES = 40

__all__ = ["DataFinding", "DataReport", "data_report"]


@dataclass(frozen=True)
class DataReport:
    """What the data are like, and what is wrong with them.

    Args:
        name: short name of the data.
        task: `text-classification` or `image-classification`.
        columns: role (`text`, `image`, `label`, `group`) -> names in the user's data.
        rows: split -> rows.
        labels: split -> label -> rows; every label of the data set in each split.
        imbalance: rows of the largest training class over those of the smallest; None without training rows.
        held_out: splits that were cut from the training rows.
        notes: what was inferred or dropped on reading.
        tokens: token counts, when a tokenizer was given and the data are texts.
        images: sizes and modes, when the data are images.
        duplicates: rows that repeat.
        findings: the worst first.
    """

    name: str
    task: str
    columns: dict[str, list[str]]
    rows: dict[str, int]
    labels: dict[str, dict[str, int]]
    imbalance: float | None
    held_out: tuple[str, ...]
    notes: tuple[str, ...]
    tokens: TokenStatistics | None
    images: ImageStatistics | None
    duplicates: Duplicates
    findings: tuple[DataFinding, ...]

    @property
    def refusals(self) -> tuple[DataFinding, ...]:
        """The findings that stop training."""
        return tuple(finding for finding in self.findings if finding.severity == "refuse")

    def raise_if_refused(self, force: bool = False) -> None:
        """Stop where a finding refuses the data, unless `force`.

        Raises:
            DataError: a finding has severity `refuse`.
        """
        refusals = self.refusals
        if not refusals or force:
            return
        remedy = " ".join(dict.fromkeys(finding.remedy for finding in refusals))
        if len(refusals) == 1:
            raise DataError(refusals[0].message, remedy=remedy)
        raise DataError(
            f"The data {self.name!r} cannot be trained on as they are.",
            remedy=remedy,
            problems=[finding.message for finding in refusals],
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        content = asdict(self)
        content["label_shares"] = {split: _shares(counts) for split, counts in self.labels.items()}
        if self.tokens is not None:
            content["tokens"]["unknown_share"] = self.tokens.unknown_share
        for shared, entry in zip(self.duplicates.shared, content["duplicates"]["shared"], strict=True):
            entry["share"] = shared.share
        for finding, entry in zip(self.findings, content["findings"], strict=True):
            entry["said"] = origins(message=finding.message, remedy=finding.remedy)
        plain: dict[str, Any] = jsonable(content)
        return plain

    def to_markdown(self) -> str:
        """The report as a Markdown document."""
        parts = [[f"# Data report: {self.name}"], self._overview(), self._label_table()]
        if self.tokens is not None:
            parts.append(_token_lines(self.tokens))
        if self.images is not None:
            parts.append(_image_lines(self.images))
        parts.append(self._finding_lines())
        if self.notes:
            parts.append(["## Notes", "", *(f"- {note}" for note in self.notes)])
        return "\n\n".join("\n".join(part) for part in parts) + "\n"

    def _overview(self) -> list[str]:
        columns = "; ".join(f"{role}: {', '.join(names)}" for role, names in self.columns.items())
        rows = ", ".join(
            f"{count:,} {split}{' (held out)' if split in self.held_out else ''}" for split, count in self.rows.items()
        )
        ratio = "" if self.imbalance is None else f"\n- Largest class over smallest: {self.imbalance:.1f}"
        return [f"- Task: {self.task}", f"- Columns: {columns}", f"- Rows: {rows}{ratio}"]

    def _label_table(self) -> list[str]:
        splits = list(self.labels)
        names = list(next(iter(self.labels.values()), {}))
        shares = {split: _shares(self.labels[split]) for split in splits}
        lines = ["## Labels", "", f"| label | {' | '.join(splits)} |", f"| --- |{' --- |' * len(splits)}"]
        for name in names[:MAX_LABEL_LINES]:
            cells = (f"{self.labels[split][name]:,} ({percent(shares[split][name])})" for split in splits)
            lines.append(f"| {_cell(name)} | {' | '.join(cells)} |")
        if len(names) > MAX_LABEL_LINES:
            lines.append(f"\n… and {len(names) - MAX_LABEL_LINES} more labels.")
        return lines

    def _finding_lines(self) -> list[str]:
        lines = ["## Findings", ""]
        for finding in self.findings:
            lines.append(f"- **{finding.severity}** `{finding.name}`: {_plain(finding.message)} *{finding.remedy}*")
            for example in finding.evidence.get("examples", ()):
                lines.append(f"  - {_plain(_example_line(example))}")
        if not self.findings:
            lines.append("Nothing to report.")
        return lines


def data_report(
    dataset: Dataset,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int | None = None,
    options: DataSection,
    seed: int = 0,
    model_name: str = "",
    cache: DiskCache | None = None,
) -> DataReport:
    """Look at the rows of a data set, and at what a model's tokenizer makes of them.

    Args:
        dataset: the data, read and split.
        tokenizer: the model's tokenizer; without one, or for images, tokens are not counted.
        max_length: most tokens that the model reads, special ones included.
        options: the limits on unknown tokens.
        seed: seed of the samples that are drawn from large data.
        model_name: the model's name for messages, e.g. `starter`.
        cache: keeps the searches for later reports on the same rows; None keeps none.

    Raises:
        MissingDependencyError: the data are images and Pillow is not installed.
    """
    splits = {name: frame for name, frame in dataset.splits.items() if len(frame)}
    labels = {name: _label_counts(frame, dataset.labels) for name, frame in splits.items()}
    if dataset.columns.image is not None:
        duplicates, images = image_duplicates(splits, seed, cache)
        tokens = None
    else:
        duplicates, images = text_duplicates(splits, seed, cache), None
        tokens = None if tokenizer is None else counted_tokens(splits, tokenizer, max_length, seed, cache)
    rows = {name: len(frame) for name, frame in splits.items()}
    found = [
        *(findings.unknown_tokens(tokens, options, model_name) if tokens else ()),
        *(findings.long_texts(tokens) if tokens else ()),
        *(findings.unreadable_images(images) if images else ()),
        *findings.leakage(duplicates, dataset.held_out),
        *giveaway(giveaways(splits, seed, cache)),
        *findings.conflicting_labels(duplicates),
        *findings.repeated_rows(duplicates),
        *findings.imbalance(labels),
        *findings.label_shift(labels, seed),
        *covariate_shift(shifts(splits, dataset.held_out, seed, cache)),
        *findings.small_held_out(rows, dataset.held_out),
    ]
    return DataReport(
        name=dataset.name,
        task=dataset.task,
        columns=_columns(dataset),
        rows=rows,
        labels=labels,
        imbalance=findings.imbalance_ratio(labels.get("train", {})),
        held_out=dataset.held_out,
        notes=dataset.notes,
        tokens=tokens,
        images=images,
        duplicates=duplicates,
        findings=tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))),
    )


def _columns(dataset: Dataset) -> dict[str, list[str]]:
    columns = dataset.columns
    named: dict[str, Iterable[str | None]] = {
        "text": columns.text,
        "image": [columns.image],
        "label": [columns.label],
        "group": [columns.group],
    }
    roles = {role: [name for name in names if name is not None] for role, names in named.items()}
    return {role: names for role, names in roles.items() if names}


def _label_counts(frame: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, int]:
    counts = frame["label"].value_counts()
    return {label: int(counts.get(label, 0)) for label in labels}


def _shares(counts: dict[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {label: count / total if total else 0.0 for label, count in counts.items()}


def _token_lines(tokens: TokenStatistics) -> list[str]:
    sample = f" (a sample of {tokens.rows:,} of {tokens.total_rows:,} rows)" if tokens.sampled else ""
    lines = [
        f"## Tokens{sample}",
        "",
        f"- A row: {tokens.minimum} to {tokens.maximum}, median {tokens.median:.0f}, mean {tokens.mean:.1f}, 95 % have "
        f"at most {tokens.p95:.0f}",
    ]
    if tokens.share_longer is not None:
        lines.append(f"- Longer than the {tokens.max_length} that the model reads: {percent(tokens.share_longer)}")
    lines.append(f"- Unknown to the model: {percent(tokens.unknown_share)}")
    if tokens.top_unknown:
        top = ", ".join(f"{_plain(piece)} ({count:,})" for piece, count in tokens.top_unknown)
        lines.append(f"- Most frequent unknown: {top}")
    return lines


def _image_lines(images: ImageStatistics) -> list[str]:
    sample = f" ({images.images:,} of {images.files:,} files were opened)" if images.images < images.files else ""
    modes = ", ".join(f"{mode} {count:,}" for mode, count in images.modes.items())
    return [
        f"## Images{sample}",
        "",
        f"- Width: {images.width[0]} to {images.width[2]}, median {images.width[1]} pixels",
        f"- Height: {images.height[0]} to {images.height[2]}, median {images.height[1]} pixels",
        f"- Modes: {modes}",
    ]


def _example_line(example: dict[str, Any]) -> str:
    here = f"{example['split']} row {example['row']} ({example['label']}) “{example['content']}”"
    there = (
        f"{example['other_split']} row {example['other_row']} ({example['other_label']}) “{example['other_content']}”"
    )
    return f"{here} {'equals' if example['kind'] == 'equal' else 'nearly equals'} {there}"


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is, on one line."""
    escaped = " ".join(text.split())
    for character in "\\`*_[]<>#":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
