"""Results as tables: an evaluation beside its baselines, a finished run, a data report."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.findings import diagnosis_for_programs, show_diagnosis
from trimtab.cli.output import format_interval, print_json, print_table
from trimtab.core.devices import process_index
from trimtab.core.errors import EXIT_TARGET_MISSED

if TYPE_CHECKING:
    from trimtab.core.runs import RunDirectory
    from trimtab.data.report import DataReport
    from trimtab.evaluation.result import EvalResult, Interval

# Labels that the table of a data report lists.
MOST_LABELS = 60


def show_run(run: RunDirectory, *, as_json: bool) -> int:
    """Show a finished run and what to type next, once where several processes trained it; return the exit code."""
    from trimtab.evaluation.result import EvalResult

    written = json.loads(run.evaluation.read_text(encoding="utf-8"))
    known = EvalResult.__dataclass_fields__
    result = EvalResult.from_dict({key: value for key, value in written.items() if key in known})
    if process_index() == 0 and as_json:
        print_json({"run": str(run.path), "evaluation": written, "diagnosis": diagnosis_for_programs(run)})
    elif process_index() == 0:
        show_result(result)
        _show_retention(run)
        _show_effort(run)
        show_diagnosis(run)
        _show_next(run, result)
    return EXIT_TARGET_MISSED if result.target is not None and not result.target.reached else 0


def show_result(result: EvalResult) -> None:
    """The metrics with their intervals beside the baselines, then the verdict."""
    baselines = list(result.baselines)
    rows = [
        [name, _shown(interval), *(_shown(result.baselines[baseline].get(name)) for baseline in baselines)]
        for name, interval in result.metrics.items()
    ]
    title = f"\n{result.rows:,} {result.split} rows, {result.confidence:.0%} intervals"
    print_table(["metric", "fine-tuned", *baselines], rows, title=title)
    click.echo(f"\n{result.verdict}")
    if result.target is not None:
        click.echo(result.target.sentence)
    for note in result.notes:
        click.echo(f"Note: {note}")


def _show_retention(run: RunDirectory) -> None:
    """What the model kept of the pretrained one, where it was measured."""
    path = run.path / "retention.json"
    if path.is_file():
        click.echo(json.loads(path.read_text(encoding="utf-8"))["summary"])


def _show_effort(run: RunDirectory) -> None:
    """Memory and saved work of the training."""
    from trimtab.core.events import read_events
    from trimtab.evaluation.effort import effort_sentences

    for sentence in effort_sentences(read_events(run.events)) if run.events.is_file() else ():
        click.echo(sentence)


def _shown(interval: Interval | None) -> str:
    return "-" if interval is None else format_interval(interval.value, interval.low, interval.high)


def _show_next(run: RunDirectory, result: EvalResult) -> None:
    path = shlex.quote(str(run.path))
    example = "photo.jpg" if any("image" in name for name in _task_words(run)) else "'some text'"
    rows = [
        ("Report", f"{run.path}/report.html"),
        ("Predict", f"trimtab predict {path} {example}"),
        ("Judge on other data", f"trimtab evaluate {path} DATA"),
        ("All runs", f"trimtab runs {shlex.quote(str(run.path.parent))}"),
    ]
    click.echo("")
    width = max(len(name) for name, _ in rows)
    for name, words in rows:
        click.echo(f"{name:<{width}}  {words}")


def _task_words(run: RunDirectory) -> list[str]:
    description = json.loads((run.model / "trimtab.json").read_text(encoding="utf-8"))
    return [str(description["task"]["name"])]


def show_report(report: DataReport) -> None:
    """The data report: how the data were read, their figures, and the findings, the gravest first."""
    for note in report.notes:
        click.echo(note)
    columns = (f"{role} {', '.join(map(repr, names))}" for role, names in report.columns.items())
    click.echo(f"columns: {'; '.join(columns)}")
    _show_labels(report)
    for line in (*_token_lines(report), *_image_lines(report), *_duplicate_lines(report)):
        click.echo(line)
    click.echo("")
    for finding in report.findings:
        colour = {"refuse": "red", "warning": "yellow"}.get(finding.severity)
        click.echo(click.style(f"{finding.severity}: ", fg=colour) + finding.message)
        click.echo(f"    {finding.remedy}")
    if not report.findings:
        click.echo("Nothing found that stands in the way of training.")


def _show_labels(report: DataReport) -> None:
    splits = list(report.rows)
    names = list(report.labels[splits[0]])
    rows: list[list[Any]] = [["all", *(f"{report.rows[split]:,}" for split in splits)]]
    for name in names[:MOST_LABELS]:
        rows.append([name, *(_count(report.labels[split][name], report.rows[split]) for split in splits)])
    if len(names) > MOST_LABELS:
        rows.append([f"… {len(names) - MOST_LABELS} more", *("" for _ in splits)])
    click.echo("")
    print_table(["label", *splits], rows, numeric=splits)


def _count(count: int, rows: int) -> str:
    return f"{count:,} ({count / rows:.1%})" if rows else "0"


def _token_lines(report: DataReport) -> list[str]:
    """Token lengths against the model's maximum, and what the model cannot read."""
    tokens = report.tokens
    if tokens is None:
        return []
    lines = [
        f"tokens a row: {tokens.minimum} to {tokens.maximum}, median {tokens.median:.0f}, 95 % have at most "
        f"{tokens.p95:.0f}"
    ]
    if tokens.max_length is not None and tokens.share_longer is not None:
        lines.append(f"  the model reads {tokens.max_length}; {tokens.share_longer:.1%} of the rows are longer")
    unknown = f"unknown tokens: {tokens.unknown_share:.2%} of {tokens.tokens:,}"
    if tokens.top_unknown:
        unknown += f"; most frequent: {', '.join(piece for piece, _ in tokens.top_unknown[:5])}"
    if tokens.sampled:
        unknown += f" (in a sample of {tokens.rows:,} of {tokens.total_rows:,} rows)"
    return [*lines, unknown]


def _image_lines(report: DataReport) -> list[str]:
    images = report.images
    if images is None:
        return []
    (least, middle, most), (lowest, median, highest) = images.width, images.height
    return [
        f"images: width {least} to {most}, median {middle}; height {lowest} to {highest}, median {median} pixels; "
        f"modes {', '.join(f'{mode} {count:,}' for mode, count in images.modes.items())}"
    ]


def _duplicate_lines(report: DataReport) -> list[str]:
    duplicates = report.duplicates
    lines = [f"rows that repeat within train: {duplicates.train.equal:,} equal, {duplicates.train.near:,} nearly equal"]
    for shared in duplicates.shared:
        lines.append(
            f"{shared.split} rows that stand in {shared.other} too: {shared.equal:,} equal, {shared.near:,} nearly "
            f"equal ({shared.share:.1%})"
        )
    lines.append(f"rows with equal content and different labels: {duplicates.conflict_rows:,}")
    return lines
