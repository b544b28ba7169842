"""Trimtab fine-tunes pretrained models: from labelled data to an evaluated, explained, ready model.

>>> import trimtab
>>> run = trimtab.train("tickets.csv", model="starter")   # doctest: +SKIP
>>> run.predict(["where is my parcel?"])                  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.api import Run, check, find_learning_rate, load, resume, run_trials, train
    from trimtab.core.errors import TrimtabError

__version__ = "0.1.0"
__all__ = ["Run", "TrimtabError", "__version__", "check", "find_learning_rate", "load", "resume", "run_trials", "train"]


def __getattr__(name: str) -> Any:
    """Import the API when it is first used: `trimtab --help` must not wait for torch."""
    if name == "TrimtabError":
        from trimtab.core.errors import TrimtabError

        return TrimtabError
    if name in __all__:
        from trimtab import api

        return getattr(api, name)
    raise AttributeError(f"module 'trimtab' has no attribute {name!r}")
