"""The recipe's section on the experiment trackers of others."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from trimtab.config.alerts import REFERENCE
from trimtab.config.section import Section, flag
from trimtab.core.errors import nearest
from trimtab.core.registry import TRACKERS


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class TrackingSection(Section):
    """Which other programs the figures of a run are written for, beside its own record."""

    to: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default_factory=list,
        description="Trackers to write for: `csv` (tables for a spreadsheet), `tensorboard`, `mlflow`, `wandb` "
        "(Weights & Biases, offline). Each but `csv` needs the extra of its name.",
        json_schema_extra=flag("--track"),
    )
    folder: str | None = Field(
        None,
        description="Folder in which `csv`, `tensorboard` and `wandb` make one of their own for the run; `tracking` in "
        "the run directory when absent.",
    )
    uri: str | None = Field(
        None,
        description="Store of MLflow: an SQLite file, `sqlite:///FILE`, the URL of a server, or `env:NAME`; "
        "`mlflow.db` beside the run directory when absent, one for all runs of the folder.",
    )
    project: str = Field("trimtab", description="Experiment of MLflow, and project of Weights & Biases.")
    name: str | None = Field(None, description="Name of the run there; that of the run directory when absent.")
    every_steps: int | None = Field(
        None,
        ge=1,
        description="Steps between those whose figures are written; evaluations always are. When absent, every step "
        "for `csv` and `tensorboard`, and about 5,000 of a run for the others.",
    )

    @field_validator("to")
    @classmethod
    def _trackers_are_known(cls, value: list[str]) -> list[str]:
        known = TRACKERS.names() if value else []
        for name in value:
            if name not in known:
                raise ValueError(f"no tracker is called {name!r}.{nearest(name, known)} Known: {', '.join(known)}")
        if len(set(value)) < len(value):
            raise ValueError("names a tracker twice")
        return value

    @field_validator("uri", mode="before")
    @classmethod
    def _uri_is_a_store(cls, value: Any) -> Any:
        """What is refused is not repeated: a URL may hold a password."""
        if value is None:
            return value
        named = isinstance(value, str) and bool(value.strip())
        if not named or (value.startswith("env:") and not REFERENCE.fullmatch(value)):
            raise ValueError("allowed: a file, sqlite:///FILE, http(s)://SERVER, or env:NAME")
        fault = store_fault(value)
        if fault:
            raise ValueError(fault)
        return value

    @field_validator("project", "name")
    @classmethod
    def _name_is_a_name(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or not value.isprintable() or len(value) > 128):
            raise ValueError("allowed: one line of 1 to 128 characters")
        return value

    @model_validator(mode="after")
    def _nothing_without_a_tracker(self) -> TrackingSection:
        fields = type(self).model_fields
        given = [name for name in fields if name != "to" and getattr(self, name) != fields[name].default]
        if given and not self.to:
            raise ValueError(f"{' and '.join(given)} would do nothing: tracking.to names no tracker")
        if self.uri is not None and "mlflow" not in self.to:
            raise ValueError("uri would do nothing: tracking.to does not name mlflow")
        if self.folder is not None and set(self.to) == {"mlflow"}:
            raise ValueError("folder would do nothing for mlflow; name its store with tracking.uri")
        return self


def store_fault(uri: str) -> str:
    """Why a text cannot be the store of MLflow, without repeating it; empty where it can."""
    if "://" not in uri:
        return ""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "is no URL"
    if parts.scheme not in ("sqlite", "http", "https"):
        return f"stores of kind {parts.scheme!r} are not written; allowed: a file, sqlite:///FILE, http(s)://SERVER"
    if "@" in parts.netloc:
        return "a password given here would stand in recipe.yaml; name the variable that holds the URL: env:NAME"
    return ""
