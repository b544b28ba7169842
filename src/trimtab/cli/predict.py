"""`trimtab predict`: labels for texts, images, or a file of them."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.flags import RecipeArguments, recipe_flags
from trimtab.cli.output import console, json_option, message, print_json, print_table
from trimtab.core.errors import DataError, RunError
from trimtab.evaluation.tables import FORMATS

if TYPE_CHECKING:
    import pandas as pd

    from trimtab.config.recipe import DataSection
    from trimtab.data.streaming import RowStream
    from trimtab.evaluation.tables import TableWriter
    from trimtab.pipeline.scoring import Scored
    from trimtab.pipeline.trained import TrainedModel


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--file", "file", metavar="FILE", help="Predict the rows of a file or folder instead; '-' reads lines.")
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Write a table with a probability for each class to FILE ({', '.join(FORMATS)}).",
)
@click.option("--overwrite", is_flag=True, help="Replace the file named with --to.")
@recipe_flags("data.text", "training.device", "training.precision")
@json_option
def command(
    run: Path,
    texts: tuple[str, ...],
    file: str | None,
    target: Path | None,
    overwrite: bool,
    recipe: RecipeArguments,
    as_json: bool,
) -> None:
    """Predict labels for each TEXT (or image file), or for the rows of --file.

    RUN is a run or a model directory. Rows pass through the model in batches; every class has its probability. With
    --to, a file of any size is read, predicted and written part by part; what is complete when it is interrupted stays
    in NAME.partial.SUFFIX. Precision `auto` predicts 256 rows and more in bfloat16 where the hardware has it and a
    sample gets the labels of float32; rows near a tie are computed in float32.
    """
    if bool(texts) == bool(file):
        raise click.UsageError("Give texts, or a file with --file, and not both.")
    _check_target(target, overwrite)
    from trimtab.evaluation.tables import TableWriter
    from trimtab.pipeline.trained import TrainedModel, find_model

    settings = recipe.resolve().recipe
    trained = TrainedModel(find_model(run), settings.training.device, settings.training.precision)
    stream = _stream(trained, texts, file, settings.data)
    for note in stream.notes:
        message(note)
    shown = _Shown(trained.labels, as_json) if as_json or target is None else None
    writer = TableWriter(target) if target is not None else None
    try:
        with writer or nullcontext():
            _pass_through(trained, stream, writer, shown)
    finally:
        if writer is not None and writer.partial is not None:
            message(f"Stopped: the {writer.rows:,} predictions that are complete are in {writer.partial}")
    for note in stream.closing_notes():
        message(note)
    if writer is not None:
        message(f"Wrote {writer.rows:,} predictions to {target}")
    if shown is not None:
        shown.print()


class _Shown:
    """What is printed at the end: all predictions as JSON, or the inputs with their labels."""

    def __init__(self, labels: tuple[str, ...], as_json: bool) -> None:
        self.labels = labels
        self.as_json = as_json
        self.precision = "fp32"
        self._records: list[dict[str, Any]] = []
        self._lines: list[tuple[str, str, str]] = []

    def add(self, table: pd.DataFrame) -> None:
        """Take the rows of a part along."""
        if self.as_json:
            self._records += _records(table, self.labels)
            return
        inputs = table["image"] if "image" in table else table["text"]
        if "text_pair" in table:
            inputs = inputs + " | " + table["text_pair"]
        probabilities = (f"{value:.3f}" for value in table["probability"])
        self._lines += zip(inputs, table["prediction"], probabilities, strict=True)

    def print(self) -> None:
        """Print it all."""
        if self.as_json:
            print_json({"labels": self.labels, "precision": self.precision, "predictions": self._records})
        else:
            print_table(["input", "prediction", "probability"], self._lines, numeric=["probability"])


def _pass_through(trained: TrainedModel, stream: RowStream, writer: TableWriter | None, shown: _Shown | None) -> None:
    """Read, predict and write the rows, part by part."""
    from trimtab.evaluation.predictions import predictions_table

    with _progress(stream.total) as progress:
        for number, scored in enumerate(_scored(trained, stream, progress)):
            if number == 0 and scored.choice.note:
                message(scored.choice.note)
            table = predictions_table(scored.frame, scored.scores, trained.labels)
            if writer is not None:
                writer.write(table)
            if shown is not None:
                shown.precision = scored.choice.precision
                shown.add(table)


def _scored(trained: TrainedModel, stream: RowStream, progress: Callable[[int], None] | None) -> Iterator[Scored]:
    """The scores of each part, all probabilities kept; what the model cannot read of the first part is told."""
    first = next(stream.frames, None)
    if first is None:
        return iter(())
    for note in trained.reading_notes(first):
        message(note)
    frames = itertools.chain([first], stream.frames)
    return trained.scorer.score(frames, keep_bytes=None, progress=progress)


def _stream(trained: TrainedModel, texts: tuple[str, ...], file: str | None, data: DataSection) -> RowStream:
    """Texts of the command line, lines of standard input, or rows of a file, as canonical frames."""
    from trimtab.data.streaming import RowStream, stream_unlabelled
    from trimtab.pipeline.scoring import CHUNK_ROWS
    from trimtab.run import frame_of_inputs

    rows = CHUNK_ROWS[trained.task.modality]
    if file is None:
        return RowStream(iter([frame_of_inputs(trained, list(texts))]), len(texts), ())
    if file == "-":
        filled = (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        # No line at all makes one part without rows, so that an empty table is written.
        first = list(itertools.islice(filled, rows))
        parts = itertools.chain([first], iter(lambda: list(itertools.islice(filled, rows)), []))
        return RowStream((frame_of_inputs(trained, part) for part in parts), None, ())
    return stream_unlabelled(file, data, trained.columns, trained.task.name, rows)


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int], None] | None]:
    """A bar of the rows that are done, on a terminal; called with the rows of each batch."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("predict", total=total)
        yield lambda rows: bar.advance(task, rows)


def _check_target(target: Path | None, overwrite: bool) -> None:
    if target is None:
        return
    if target.suffix.lower() not in FORMATS:
        raise DataError(
            f"--to {target}: files of type {target.suffix or '(none)'} cannot be written.",
            remedy=f"Use one of {', '.join(FORMATS)}.",
        )
    if target.is_dir() or not target.parent.is_dir():
        found = "is a folder" if target.is_dir() else f"lies in {target.parent}, which is not a folder"
        raise RunError(f"--to {target}: it {found}.", remedy="Name a file in a folder that exists.")
    if target.exists() and not overwrite:
        raise RunError(f"{target} exists already.", remedy="Choose another name, or replace it with --overwrite.")


def _records(table: pd.DataFrame, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    for record in records:
        record["probabilities"] = {label: record.pop(f"p_{label}") for label in labels}
    return records
