"""The recipe's section on what is kept for later runs."""

from __future__ import annotations

from pydantic import Field

from trimtab.config.section import Section


class CacheSection(Section):
    """What is computed once and kept on disk: tokens, decoded images, and what frozen blocks make of the rows."""

    enabled: bool = Field(True, description="Keep on disk what later epochs and runs would compute again.")
    folder: str | None = Field(
        None,
        description="Folder of the cache; when absent, the environment variable TRIMTAB_CACHE or the user's cache "
        "directory (`~/.cache/trimtab`).",
    )
    prefix: bool = Field(
        True,
        description="Compute what lies below the lowest trained block once per row, and read it from disk in every "
        "later epoch, evaluation and run.",
    )
    prefix_mib: int = Field(
        8192, ge=1, description="Most MiB of activations of frozen blocks; a run that needs more computes them anew."
    )
    disk_mib: int = Field(4096, ge=1, description="Most MiB each of tokens and of decoded images; the oldest go first.")
