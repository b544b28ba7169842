from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from trimtab.cli import main as cli_main
from trimtab.cli.main import COMMANDS, cli
from trimtab.core.errors import DataError, InterruptedRun, RecipeError

HEAVY = ("torch", "transformers", "pandas", "sklearn", "datasets")
WRITTEN = [name for name, (module, _) in COMMANDS.items() if (Path(cli_main.__file__).parent / f"{name}.py").exists()]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make `trimtab runs` raise an error."""

    def install(error: BaseException) -> None:
        def list_runs(folder: Path) -> Any:
            raise error

        monkeypatch.setattr("trimtab.cli.runs.list_runs", list_runs)

    return install


def test_help_lists_every_command_with_its_line() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name} " in result.stdout
        assert summary.split()[0] in result.stdout
    assert invoke().stdout == result.stdout


@pytest.mark.parametrize("name", WRITTEN)
def test_the_line_of_a_command_is_the_first_of_its_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert (command.help or "").splitlines()[0] == COMMANDS[name][1]
    assert {"debug", "as_json"} <= {parameter.name for parameter in command.params}


@pytest.mark.parametrize(
    "arguments", [[], *[[name] for name in WRITTEN]], ids=lambda words: " ".join(words) or "trimtab"
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom trimtab.cli.main import cli\n"
        f"assert cli.main({[*arguments, '--help']!r}, standalone_mode=False) == 0\n"
        f"print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"
    assert "Usage: trimtab" in done.stdout


def test_version() -> None:
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("trimtab ")


def test_errors_of_ours_are_told_with_problems_and_remedy(failing: Any) -> None:
    failing(RecipeError("It has 2 problems.", problems=["one", "two"], remedy="Mend them."))
    result = invoke("runs", ".")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: It has 2 problems.\n  - one\n  - two\nMend them.\n"


def test_errors_as_json(failing: Any) -> None:
    failing(DataError("No rows.", remedy="Give some."))
    result = invoke("runs", ".", "--json")
    assert (result.exit_code, result.stderr) == (2, "")
    assert json.loads(result.stdout) == {
        "error": {"type": "DataError", "message": "No rows.", "problems": [], "remedy": "Give some."}
    }


@pytest.mark.parametrize("arguments", [["--debug", "runs", "."], ["runs", ".", "--debug"]])
def test_a_traceback_with_debug_only(failing: Any, arguments: list[str]) -> None:
    failing(DataError("No rows."))
    assert "Traceback" in invoke(*arguments).stderr
    assert "Traceback" not in invoke("runs", ".").stderr
    assert "Traceback" not in invoke("runs", ".", "--", "--debug").stderr


def test_a_fault_of_ours_is_one_line_and_exit_code_1(failing: Any) -> None:
    failing(ValueError("odd\nthing"))
    result = invoke("runs", ".")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: Internal error: ValueError: odd thing",
        "This is a fault in Trimtab. Repeat the command with --debug for the traceback.",
    ]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "Interrupted."),
        (InterruptedRun("SIGTERM", "trimtab resume x"), 143, "trimtab resume x"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 2, "a/b: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "c"), 2, "c: Permission denied"),
        (ConnectionError("host away"), 2, "No connection: host away"),
        (click.ClickException("no"), 2, "error: no"),
    ],
)
def test_exit_codes(failing: Any, error: BaseException, code: int, words: str) -> None:
    failing(error)
    result = invoke("runs", ".")
    assert result.exit_code == code
    assert words in result.stderr


def test_unknown_names_offer_the_nearest() -> None:
    result = invoke("trian")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: No such command 'trian'. Did you mean 'train'?\nSee: trimtab --help\n"
    result = invoke("runs", "--jso")
    assert result.exit_code == 2
    assert "error: No such option '--jso'." in result.stderr and "Did you mean '--json'?" in result.stderr
    assert json.loads(invoke("trian", "--json").stdout)["error"]["type"] == "UsageError"


def test_a_number_returned_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from trimtab.cli import runs

    monkeypatch.setattr(runs.command, "callback", lambda **_: 3)
    assert invoke("runs").exit_code == 3
    monkeypatch.setattr(runs.command, "callback", lambda **_: None)
    assert invoke("runs").exit_code == 0


def test_no_colour_away_from_a_terminal_and_with_no_color(failing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(DataError("No rows."))
    runner = CliRunner()
    assert "\x1b[" in runner.invoke(cli, ["runs", "."], color=True).stderr
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in runner.invoke(cli, ["runs", "."], color=True).stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_reader_that_leaves_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "trimtab.cli.main", "recipe"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_characters_that_the_terminal_cannot_show() -> None:
    command = [sys.executable, "-m", "trimtab.cli.main", "recipe"]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, encoding="latin-1", env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u2026" in done.stdout
