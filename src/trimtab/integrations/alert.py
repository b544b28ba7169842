"""What somebody is told of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from trimtab.core.errors import TrimtabError

MOST_CHARACTERS = 2000


class ChannelError(TrimtabError):
    """An alert did not get through."""


@dataclass(frozen=True)
class Alert:
    """What somebody is told.

    Args:
        run: the run directory.
        event: `finding`, `finished`, `stopped` or `failed`.
        severity: `info`, `warning` or `act`.
        name: of the finding; that of the event otherwise.
        message: what there is to know, in one or two sentences.
        remedy: what to do about it; may be empty.
        step: optimizer steps taken.
        metric, value, low, high: the run's metric with the ends of its interval, where they are known.
    """

    run: str
    event: str
    severity: str
    name: str
    message: str
    remedy: str = ""
    step: int = 0
    metric: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def title(self) -> str:
        """The run and what happened to it, in a few words."""
        place = self.run.replace("\\", "/").rstrip("/").rpartition("/")[2]
        return f"Trimtab: {place} · {self.name.replace('_', ' ')}"

    @property
    def body(self) -> str:
        """Message and remedy."""
        return " ".join(part for part in (self.message, self.remedy) if part)[:MOST_CHARACTERS]

    def to_dict(self) -> dict[str, Any]:
        """All of it ready for JSON, and the whole as `text`, which chat programs show."""
        return {**asdict(self), "text": f"{self.title}\n{self.body}"}
