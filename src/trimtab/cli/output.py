"""What commands print with: JSON for programs, tables and messages for people.

Rich is imported on first use. Colour follows the terminal and `NO_COLOR`; away from a terminal the output is plain and
wide enough that tables do not fold.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trimtab.core.files import jsonable

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])

PLAIN_WIDTH = 160


def json_option(command: F) -> F:
    """Decorator: the option `--json`, passed as `as_json`."""
    option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
    return option(command)


def print_json(value: Any) -> None:
    """Print `value` as JSON on stdout; non-finite numbers become null."""
    unicode_out = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    click.echo(json.dumps(jsonable(value), indent=2, ensure_ascii=not unicode_out, allow_nan=False))


def console(*, stderr: bool = False) -> Console:
    """A console on stdout, or on stderr."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PLAIN_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
    numeric: Iterable[str] = (),
    stderr: bool = False,
) -> None:
    """Print a table.

    Args:
        columns: headings.
        rows: the cells of each row; None is shown as `-`.
        title: line above the table.
        numeric: the headings of columns that are aligned to the right.
        stderr: print to stderr.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    right = set(numeric)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(Text(column), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    out = console(stderr=stderr)
    if title:
        out.print(Text(title, style="bold"))
    out.print(table)


def message(text: str, *, style: str = "") -> None:
    """Print a line for people on stderr, so that stdout holds results only."""
    from rich.text import Text

    console(stderr=True).print(Text(text, style=style), soft_wrap=True)


def warning(text: str) -> None:
    """Print a warning on stderr."""
    message(f"warning: {text}", style="yellow")


def format_interval(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """`0.912 [0.893, 0.930]`; without an interval the value alone, and `-` for no value."""
    if value is None:
        return "-"
    interval = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    return f"{value:.3f}{interval}"
