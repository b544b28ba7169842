"""The command line in this process: fast enough to walk through every mistake a user can make."""

from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.cli.main import cli

# Enough for the figures that tests look at, and no more.
QUICK = ("--epochs", "1", "--set", "evaluation.bootstrap_samples=100")


@dataclass(frozen=True)
class Outcome:
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout, which must be one JSON value and nothing else."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one message: from `error:` to the end of stderr."""
        _, *messages = re.split(r"^error: ", self.err, flags=re.MULTILINE)
        assert len(messages) == 1, self.err
        assert "Traceback" not in self.err and "Internal error" not in self.err
        return messages[0]


def trimtab(*arguments: Any) -> Outcome:
    """Run `trimtab ARGUMENTS`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(argument) for argument in arguments], standalone_mode=False)
    return Outcome(code, out.getvalue(), err.getvalue())


def files_below(folder: Path) -> list[str]:
    """Every file and folder below, as sorted relative paths."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
