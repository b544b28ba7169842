"""What every section of a recipe is built from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict

from trimtab.config.plugins import StrictModel

AUTO: Literal["auto"] = "auto"
Auto = Literal["auto"]


class Section(StrictModel):
    """A part of the recipe; defaults are checked like given values."""

    model_config = ConfigDict(validate_default=True)


def flag(name: str, **extra: Any) -> dict[str, Any]:
    """Mark a field as having a command-line flag of its own, beside `--set section.key=value`."""
    return {"flag": name, **extra}
