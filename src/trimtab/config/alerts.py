"""The recipe's section on alerts: who is told when something happens to a run."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from trimtab.config.section import Section, flag

REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
"""How a recipe names an environment variable in place of what nobody else should read."""
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def is_local_url(text: str) -> bool:
    """Whether a text is an http(s) URL of this machine, without a password in it."""
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and parts.hostname in _THIS_MACHINE
        return known and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # a port that is no number, or half a bracket
        return False


def _words(value: Any) -> Any:
    """A command line as its words; a list stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError as error:
        raise ValueError(f"cannot be cut into words ({error}); give a list: [program, argument]") from None


class AlertsSection(Section):
    """Who is told when the doctor finds something, or a run ends. Without a channel, nobody is."""

    severity: Literal["info", "warning", "act"] = Field(
        "act",
        description="Least severity of the findings that are told; each is told once, and again if it gets graver.",
    )
    on_end: bool = Field(True, description="Tell too when the run has finished, was stopped, or has failed.")
    desktop: bool = Field(
        False,
        description="Show alerts on the desktop of this machine (`notify-send`, macOS and Windows by their own means).",
        json_schema_extra=flag("--alert-desktop"),
    )
    webhook: str | None = Field(
        None,
        description="URL that alerts are posted to as JSON, by reference: `env:NAME` is the environment variable that "
        "holds it. The hooks of Slack, Discord, Feishu, DingTalk and WeCom get the form that they read. Only a URL of "
        "this machine (`http://localhost:8000/`) may stand here itself.",
        json_schema_extra=flag("--alert-webhook"),
    )
    command: Annotated[list[str], BeforeValidator(_words)] | None = Field(
        None,
        description="Program that is run for each alert, with its arguments and without a shell. The alert is JSON on "
        "its standard input; TRIMTAB_RUN, TRIMTAB_EVENT, TRIMTAB_SEVERITY and TRIMTAB_MESSAGE are set.",
    )

    @property
    def has_channel(self) -> bool:
        """Whether anybody is told."""
        return self.desktop or self.webhook is not None or self.command is not None

    @field_validator("webhook", mode="before")
    @classmethod
    def _webhook_is_no_secret(cls, value: Any) -> Any:
        """What is refused is never repeated: it may be the secret itself."""
        if value is None or (isinstance(value, str) and (REFERENCE.fullmatch(value) or is_local_url(value))):
            return value
        if isinstance(value, str) and "://" in value:
            raise ValueError(
                "a URL given here would stand in recipe.yaml and in the list of processes, and whoever reads it can "
                "post. Put it into an environment variable and name that, for example env:TRIMTAB_WEBHOOK"
            )
        raise ValueError(
            "allowed: env:NAME, the environment variable that holds the URL, or a URL of this machine such as "
            "http://localhost:8000/"
        )

    @field_validator("command")
    @classmethod
    def _command_names_a_program(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and not (value and value[0].strip()):
            raise ValueError("names no program; allowed: a program with its arguments, or null")
        if value is not None and any("\0" in word for word in value):
            raise ValueError("holds a character that no command line can hold")
        return value

    @model_validator(mode="after")
    def _nothing_without_a_channel(self) -> AlertsSection:
        fields = type(self).model_fields
        given = [name for name in ("severity", "on_end") if getattr(self, name) != fields[name].default]
        if given and not self.has_channel:
            raise ValueError(f"{' and '.join(given)} would do nothing without desktop, webhook or command")
        return self
