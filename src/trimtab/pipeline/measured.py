"""What is measured before training and must be the same after a resume: parameter scores, Fisher information."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from trimtab.core.errors import RunError
from trimtab.core.files import disk_error

FILE = "measured.safetensors"


class Measured:
    """Tensors by kind and name: those read from a run, or measured when they are first asked for.

    Args:
        tensors: `<kind>/<name>` -> tensor.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor] | None = None) -> None:
        self._tensors = dict(tensors or {})

    def get(self, kind: str, measure: Callable[[], Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """The tensors of a kind; `measure` is called only where the run does not hold them."""
        prefix = f"{kind}/"
        if not any(name.startswith(prefix) for name in self._tensors):
            self._tensors |= {prefix + name: tensor.detach().cpu().contiguous() for name, tensor in measure().items()}
        return {name.removeprefix(prefix): t for name, t in self._tensors.items() if name.startswith(prefix)}

    def write(self, folder: Path) -> None:
        """Write what was measured, if anything.

        Raises:
            RunError: the disk is full.
        """
        if not self._tensors:
            return
        try:
            save_file(self._tensors, folder / FILE)
        except (OSError, SafetensorError) as error:
            raise disk_error(folder / FILE, error if isinstance(error, OSError) else OSError(str(error))) from error

    @classmethod
    def read(cls, folder: Path) -> Measured:
        """What a run holds; nothing where nothing was measured.

        Raises:
            RunError: the file is damaged.
        """
        path = folder / FILE
        if not path.is_file():
            return cls()
        try:
            return cls(load_file(path))
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"{path} cannot be read: {error}.",
                remedy="The run cannot be resumed; start a new one with its recipe.yaml: trimtab train RUN/recipe.yaml",
            ) from error
