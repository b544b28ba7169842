"""Optional packages, imported through one helper that names the extra to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from trimtab.core.errors import MissingDependencyError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or say which extra brings it.

    Args:
        module: dotted module name, e.g. `PIL.Image`.
        extra: the extra of Trimtab that installs it, e.g. `vision`.
        purpose: what it is needed for, to complete "… is needed to <purpose>".

    Raises:
        MissingDependencyError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"The package {module.split('.')[0]!r} is needed to {purpose}, and it is not installed ({error}).",
            remedy=f"Install it with: pip install 'trimtab[{extra}]'",
        ) from error
