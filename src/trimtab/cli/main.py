"""The command line: one command a file, imported only when it is invoked.

A command's module holds a click command named `command`. It returns nothing, or the exit code. Errors are raised, never
printed: here they become one message and the exit code that they carry.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from trimtab.cli.failures import describe_failure, show_failure
from trimtab.core.errors import EXIT_FAILURE, EXIT_TERMINATED, nearest

# Name -> module and the first line of its help (a test compares them), so that `trimtab --help` imports no command.
COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("trimtab.cli.train", "Fine-tune a model on DATA, evaluate it, and keep it."),
    "evaluate": ("trimtab.cli.evaluate", "Judge the model of RUN on DATA, with intervals and beside the baselines."),
    "predict": ("trimtab.cli.predict", "Predict labels for each TEXT (or image file), or for the rows of --file."),
    "check": ("trimtab.cli.check", "Report on DATA before training, as the model would see them."),
    "diagnose": (
        "trimtab.cli.diagnose",
        "Say what is wrong with RUN, ours or of another program, going on or ended.",
    ),
    "compare": (
        "trimtab.cli.compare",
        "Say whether finished runs differ beyond chance, and in what their recipes do.",
    ),
    "augment": ("trimtab.cli.augment", "Show training texts of DATA beside what augmentation makes of them."),
    "lr-find": ("trimtab.cli.lr_find", "Test on DATA which learning rates are of use, and suggest one."),
    "recipe": ("trimtab.cli.recipe", "Print a commented recipe with every option and its default."),
    "runs": ("trimtab.cli.runs", "List the runs in a folder with their results."),
    "resume": ("trimtab.cli.resume", "Go on with RUN from its newest sound checkpoint."),
    "control": ("trimtab.cli.control", "Pause, resume, stop or change RUN while it goes on."),
    "dashboard": ("trimtab.cli.dashboard", "Show the runs of FOLDER in the browser, live, and act on them."),
    "cache": ("trimtab.cli.cache", "List what is kept on disk for later runs, or remove it."),
}


class CommandGroup(click.Group):
    """The group of all commands; it imports the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command and give it the options that every command takes."""
        if cmd_name not in COMMANDS:
            return None
        module, summary = COMMANDS[cmd_name]
        command: click.Command = importlib.import_module(module).command
        command.short_help = summary
        if not any(parameter.name == "debug" for parameter in command.params):
            command.params.append(_debug_option())
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or offer the nearest name."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"No such command {args[0]!r}.{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; exit with its code, or return the code when not `standalone_mode`."""
        arguments = list(sys.argv[1:] if args is None else args)
        code = self._run(arguments, prog_name or "trimtab", complete_var, extra)
        if not standalone_mode:
            return code
        sys.exit(code)

    def _run(self, arguments: list[str], prog_name: str, complete_var: str | None, extra: dict[str, Any]) -> int:
        try:
            # Commands find their words as `obj`: those that start themselves anew need them.
            extra = {"obj": tuple(arguments), **extra}
            result = super().main(arguments, prog_name, complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            return _reader_gone()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (the one place where every error is told)
            # Read from the words themselves: a faulty command line is told in the form it asks for, too.
            options = arguments[: arguments.index("--")] if "--" in arguments else arguments
            failure = describe_failure(error)
            show_failure(failure, error, as_json="--json" in options, debug="--debug" in options)
            return failure.exit_code
        return result if isinstance(result, int) else 0


def _reader_gone() -> int:
    """The reader of our output has left (`trimtab runs | head`): drop the rest quietly."""
    with contextlib.suppress(OSError, ValueError):  # stdout may be an object without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_FAILURE


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, help="Show the full traceback when something fails."
    )


@click.group(
    "trimtab",
    cls=CommandGroup,
    invoke_without_command=True,
    params=[_debug_option()],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Help on a command: trimtab COMMAND --help",
)
@click.version_option(package_name="trimtab", prog_name="trimtab", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Fine-tune pretrained models: from labelled data to an evaluated model in one command."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> NoReturn:
    """Entry point of the `trimtab` command."""
    for stream in (sys.stdout, sys.stderr):
        # Where the terminal cannot show a character (`…`, a Chinese label), show its code in place of failing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # So that temporary files are removed on the way out; while a run trains, it takes the signal itself.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(EXIT_TERMINATED))
    cli.main()
    raise SystemExit(0)


if __name__ == "__main__":
    main()
