"""The one exception tree of Trimtab, and the exit code that each branch gives the command line.

Every message says what is wrong, where, what was found, and what to do about it. `problems` holds several messages
where several faults were found at once (a recipe with three misspelt keys raises one error with three problems).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

EXIT_FAILURE = 1
EXIT_BAD_INPUT = 2
EXIT_TARGET_MISSED = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

STOP_ASKED = "stop"
"""In place of a signal's name, where a run is stopped by a request."""


class TrimtabError(Exception):
    """Base of every error that Trimtab raises on purpose.

    Args:
        message: what is wrong, where, and what was found.
        remedy: what the user can do about it, an imperative sentence.
        problems: the single faults, when `message` sums up several.
    """

    exit_code = EXIT_BAD_INPUT

    def __init__(self, message: str, *, remedy: str = "", problems: Sequence[str] = ()) -> None:
        self.message = message
        self.remedy = remedy
        self.problems = tuple(problems)
        super().__init__(self._full_text())

    def _full_text(self) -> str:
        lines = [self.message, *(f"  - {problem}" for problem in self.problems)]
        if self.remedy:
            lines.append(self.remedy)
        return "\n".join(lines)


class RecipeError(TrimtabError):
    """A recipe key, type, range or combination that cannot be used."""


class UnknownNameError(RecipeError):
    """A name that no plugin, column, metric or key goes by."""


class DuplicateNameError(TrimtabError):
    """Two plugins of one kind claim the same name."""

    exit_code = EXIT_FAILURE


class DataError(TrimtabError):
    """The data cannot be read, or cannot be learned from."""


class ModelError(TrimtabError):
    """The pretrained model cannot be found, read, or used for the task."""


class RunError(TrimtabError):
    """The run directory is missing, exists already, or is not one of ours."""


class CheckpointError(TrimtabError):
    """A checkpoint is torn, damaged, or lacks a part that an exact resume needs."""


class MissingDependencyError(TrimtabError):
    """An optional package is not installed; the message names the extra that brings it."""


class TrainingError(TrimtabError):
    """The training loop cannot go on."""

    exit_code = EXIT_FAILURE


class NonFiniteError(TrainingError):
    """Several steps in a row gave a NaN or infinite loss or gradient."""


class OutOfMemoryError(TrainingError):
    """Even the smallest batch does not fit the device."""


class InterruptedRun(TrimtabError):
    """A signal, or somebody who asked for it, stopped the run after a checkpoint was written.

    Args:
        signal_name: `SIGINT`, `SIGTERM`, or `STOP_ASKED`.
        resume_command: what to type to go on.
    """

    def __init__(self, signal_name: str, resume_command: str) -> None:
        self.exit_code = EXIT_TERMINATED if signal_name == "SIGTERM" else EXIT_INTERRUPTED
        self.resume_command = resume_command
        message = (
            "Stopped, as it was asked for: a checkpoint was written."
            if signal_name == STOP_ASKED
            else f"{signal_name} received: a checkpoint was written."
        )
        super().__init__(message, remedy=f"Go on with: {resume_command}")


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the candidate nearest to `name`, or an empty string when none is near."""
    matches = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return f" Did you mean {matches[0]!r}?" if matches else ""
