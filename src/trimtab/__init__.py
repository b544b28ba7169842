"""Trimtab fine-tunes pretrained models: from labelled data to an evaluated, explained, ready model.

>>> import trimtab
>>> run = trimtab.train("tickets.csv", model="starter")   # doctest: +SKIP
>>> run.predict(["where is my parcel?"])                  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.api import Run, check, compare, control, diagnose, find_learning_rate, load, resume, run_trials, train
    from trimtab.core.errors import TrimtabError
    from trimtab.integrations.hf import DoctorCallback
    from trimtab.integrations.lightning import LightningDoctor

__version__ = "0.1.0"
__all__ = [
    "DoctorCallback",
    "LightningDoctor",
    "Run",
    "TrimtabError",
    "__version__",
    "check",
    "compare",
    "control",
    "diagnose",
    "find_learning_rate",
    "load",
    "resume",
    "run_trials",
    "train",
]

# What does not come from `trimtab.api`, by module: none of these waits for torch unless it needs it.
_ELSEWHERE = {
    "TrimtabError": "trimtab.core.errors",
    "DoctorCallback": "trimtab.integrations.hf",
    "LightningDoctor": "trimtab.integrations.lightning",
}


def __getattr__(name: str) -> Any:
    """Import the API when it is first used: `trimtab --help` must not wait for torch."""
    if name in __all__:
        return getattr(import_module(_ELSEWHERE.get(name, "trimtab.api")), name)
    raise AttributeError(f"module 'trimtab' has no attribute {name!r}")
