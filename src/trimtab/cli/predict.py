"""`trimtab predict`: labels for texts, images, or a file of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.flags import RecipeArguments, recipe_flags
from trimtab.cli.output import json_option, message, print_json, print_table
from trimtab.core.errors import DataError, RunError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from trimtab.config.recipe import DataSection
    from trimtab.pipeline.trained import TrainedModel

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")


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
@recipe_flags("data.text", "training.device")
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

    RUN is a run or a model directory. Rows pass through the model in batches; every class has its probability.
    """
    if bool(texts) == bool(file):
        raise click.UsageError("Give texts, or a file with --file, and not both.")
    _check_target(target, overwrite)
    from trimtab.evaluation.predictions import predictions_table
    from trimtab.pipeline.trained import TrainedModel, find_model

    settings = recipe.resolve().recipe
    trained = TrainedModel(find_model(run), settings.training.device)
    frame = _frame(trained, texts, file, settings.data)
    for note in (*frame.attrs.get("notes", ()), *trained.reading_notes(frame)):
        message(note)
    table = predictions_table(frame, trained.probabilities(frame), trained.labels)
    if target is not None:
        _write(table, target)
        message(f"Wrote {len(table):,} predictions to {target}")
    if as_json:
        print_json({"labels": trained.labels, "predictions": _records(table, trained.labels)})
    elif target is None:
        _show(table)


def _frame(trained: TrainedModel, texts: tuple[str, ...], file: str | None, data: DataSection) -> pd.DataFrame:
    """Texts of the command line, lines of standard input, or rows of a file, as a canonical frame."""
    from trimtab.api import frame_of_inputs
    from trimtab.data.loading import load_unlabelled

    if file is None:
        return frame_of_inputs(trained, list(texts))
    if file == "-":
        lines = [line.rstrip("\r\n") for line in sys.stdin]
        return frame_of_inputs(trained, [line for line in lines if line.strip()])
    return load_unlabelled(file, data, trained.columns, trained.task.name)


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


def _write(table: pd.DataFrame, target: Path) -> None:
    """Write the table whole or not at all."""
    from trimtab.core.files import write_atomic

    kind = target.suffix.lower()
    if kind == ".parquet":
        content: Any = table.to_parquet(None, index=False)
    elif kind == ".jsonl":
        content = table.to_json(orient="records", lines=True, force_ascii=False)
    else:
        content = table.to_csv(index=False, sep="\t" if kind == ".tsv" else ",")
    write_atomic(target, content)


def _records(table: pd.DataFrame, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    for record in records:
        record["probabilities"] = {label: record.pop(f"p_{label}") for label in labels}
    return records


def _show(table: pd.DataFrame) -> None:
    inputs = table["image"] if "image" in table else table["text"]
    if "text_pair" in table:
        inputs = inputs + " | " + table["text_pair"]
    probabilities: np.ndarray[Any, Any] = table["probability"].to_numpy()
    rows = zip(inputs, table["prediction"], (f"{value:.3f}" for value in probabilities), strict=True)
    print_table(["input", "prediction", "probability"], rows, numeric=["probability"])
