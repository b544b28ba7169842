"""From an exception to what the user is told: one message, what to do, and the exit code."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass

import click

from trimtab.core.errors import EXIT_BAD_INPUT, EXIT_FAILURE, EXIT_INTERRUPTED, TrimtabError


@dataclass(frozen=True)
class Failure:
    """What is told of an error.

    Args:
        kind: name of the error's class, for programs.
        message: what is wrong.
        problems: the single faults, where there are several.
        remedy: what to do.
        exit_code: with which the command ends.
    """

    kind: str
    message: str
    problems: tuple[str, ...] = ()
    remedy: str = ""
    exit_code: int = EXIT_FAILURE


def describe_failure(error: BaseException) -> Failure:
    """Sort an error: ours, a faulty command line, an interrupt, the operating system's, or a fault in Trimtab."""
    kind = type(error).__name__
    if isinstance(error, TrimtabError):
        return Failure(kind, error.message, error.problems, error.remedy, error.exit_code)
    if isinstance(error, click.UsageError):
        context = error.ctx
        remedy = f"See: {context.command_path} --help" if context else ""
        return Failure(kind, error.format_message(), (), remedy, error.exit_code)
    if isinstance(error, click.ClickException):
        return Failure(kind, error.format_message(), (), "", EXIT_BAD_INPUT)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Failure("Interrupted", "Interrupted.", exit_code=EXIT_INTERRUPTED)
    if isinstance(error, ConnectionError | TimeoutError):
        return Failure(
            kind,
            f"No connection: {' '.join(str(error).split()) or kind}.",
            remedy="Check the network, or name a local file or directory.",
            exit_code=EXIT_BAD_INPUT,
        )
    if isinstance(error, OSError) and error.errno is not None:
        where = f" {error.filename}" if error.filename is not None else ""
        return Failure(
            kind,
            f"The operating system refused to read or write{where}: {error.strerror or os.strerror(error.errno)}.",
            remedy="Check the free space, the permissions and the name; choose another place with --output.",
            exit_code=EXIT_BAD_INPUT,
        )
    summary = " ".join(str(error).split())
    return Failure(
        kind,
        f"Internal error: {kind}{': ' if summary else ''}{summary}",
        remedy="This is a fault in Trimtab. Repeat the command with --debug for the traceback.",
    )


def show_failure(failure: Failure, error: BaseException, *, as_json: bool, debug: bool) -> None:
    """Tell a failure: as one JSON object on stdout, or as text on stderr; the traceback, on stderr, with `debug`."""
    if debug:
        traceback.print_exception(error)
    if as_json:
        from trimtab.cli.output import print_json

        told = {
            "type": failure.kind,
            "message": failure.message,
            "problems": failure.problems,
            "remedy": failure.remedy,
        }
        print_json({"error": told})
        return
    colour = False if "NO_COLOR" in os.environ else None
    sys.stdout.flush()
    click.echo(click.style("error: ", fg="red", bold=True) + failure.message, err=True, color=colour)
    for problem in failure.problems:
        click.echo(f"  - {problem}", err=True)
    if failure.remedy:
        click.echo(failure.remedy, err=True)
