"""Values that a recipe names in place of holding them: `env:NAME`."""

from __future__ import annotations

import os
import re

from trimtab.config.alerts import REFERENCE
from trimtab.core.errors import RecipeError


def resolved(value: str, key: str) -> str:
    """`value`, or what the environment variable that it names holds.

    Raises:
        RecipeError: the variable is not set.
    """
    reference = REFERENCE.fullmatch(value)
    if reference is None:
        return value
    name = reference[1]
    held = os.environ.get(name, "").strip()
    if not held:
        raise RecipeError(
            f"{key}: the environment variable {name} is not set.",
            remedy=f"Set it in the shell that starts the run: export {name}=…",
        )
    return held


def without(secret: str, text: str) -> str:
    """`text` with a URL, and whatever of its address a library repeats, taken out."""
    _, _, address = secret.partition("://")
    host, slash, path = address.partition("/")
    pieces = {secret, address, slash + path, path, *re.split(r"[/?&=@]", address)} - {host}
    for piece in sorted(pieces, key=len, reverse=True):
        # Words such as `v1` and `send` give nothing away.
        if len(piece) >= 8:
            text = text.replace(piece, "…")
    return text
