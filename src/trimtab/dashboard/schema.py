"""The JSON schema of recipes, asked of the `trimtab` command once: making it imports every plugin."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

from trimtab.dashboard.failures import Refusal

_SECONDS = 120


class Schema:
    """The schema, made when it is first asked for and kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._schema: dict[str, Any] | None = None

    def get(self) -> dict[str, Any]:
        """The schema.

        Raises:
            Refusal: the command failed.
        """
        with self._lock:
            if self._schema is None:
                self._schema = _make()
            return self._schema


def _make() -> dict[str, Any]:
    command = [sys.executable, "-m", "trimtab", "recipe", "--json"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL)
        return dict(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = getattr(error, "stderr", None) or b""
        lines = said.decode("utf-8", "replace").strip().splitlines()
        raise Refusal(
            500,
            f"The form cannot be made: 'trimtab recipe --json' failed ({lines[-1] if lines else error}).",
            "Try that command in a terminal.",
        ) from error
