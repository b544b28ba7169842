"""The ways an alert takes: desktop, command, and the webhook of its own file."""

from __future__ import annotations

import html
import json
import os
import shutil
import subprocess
import sys
from typing import ClassVar, Protocol

from trimtab.config.alerts import AlertsSection
from trimtab.core.errors import RecipeError
from trimtab.integrations.alert import Alert, ChannelError
from trimtab.integrations.webhook import Webhook

COMMAND_SECONDS = 60.0


class Channel(Protocol):
    """A way to somebody."""

    name: ClassVar[str]

    def send(self, alert: Alert) -> None:
        """Take the alert there.

        Raises:
            ChannelError: it did not get there.
        """


class Desktop:
    """A notice on the desktop, by the program that the system has for it; arguments never pass through a shell."""

    name: ClassVar[str] = "desktop"
    _URGENCIES: ClassVar[dict[str, str]] = {"info": "low", "warning": "normal", "act": "critical"}

    def __init__(self, platform: str = sys.platform) -> None:
        self.platform = platform
        program = {"darwin": "osascript", "win32": "powershell"}.get(platform, "notify-send")
        found = shutil.which(program)
        if found is None:
            raise RecipeError(
                f"alerts.desktop: the program {program!r}, which shows notices on this system, was not found.",
                remedy="Install it (on Debian and Ubuntu: libnotify-bin), or use alerts.webhook or alerts.command.",
            )
        self.program = found

    def send(self, alert: Alert) -> None:
        """Show it."""
        _run(self._arguments(alert), "", {"TRIMTAB_TITLE": alert.title, "TRIMTAB_BODY": alert.body}, 10.0)

    def _arguments(self, alert: Alert) -> list[str]:
        title, body = _printable(alert.title), _printable(alert.body)
        if self.platform == "darwin":
            script = ("on run argv", "display notification (item 2 of argv) with title (item 1 of argv)", "end run")
            return [self.program, *(part for line in script for part in ("-e", line)), title, body]
        if self.platform == "win32":
            # The texts come from the environment: the script is always the same.
            return [self.program, "-NoProfile", "-NonInteractive", "-Command", _TOAST]
        # Notification programs read the body as markup.
        urgency = f"--urgency={self._URGENCIES[alert.severity]}"
        return [self.program, "--app-name=Trimtab", urgency, "--", title, html.escape(body, quote=False)]


_TOAST = """
$null = [Windows.UI.Notifications.ToastNotificationManager, Windows.UI.Notifications, ContentType = WindowsRuntime]
$kind = [Windows.UI.Notifications.ToastTemplateType]::ToastText02
$toast = [Windows.UI.Notifications.ToastNotificationManager]::GetTemplateContent($kind)
$texts = $toast.GetElementsByTagName('text')
$null = $texts.Item(0).AppendChild($toast.CreateTextNode($env:TRIMTAB_TITLE))
$null = $texts.Item(1).AppendChild($toast.CreateTextNode($env:TRIMTAB_BODY))
$shown = [Windows.UI.Notifications.ToastNotification]::new($toast)
[Windows.UI.Notifications.ToastNotificationManager]::CreateToastNotifier('Trimtab').Show($shown)
"""


class Command:
    """A program of the user's, run without a shell, with the alert as JSON on its standard input.

    Args:
        words: program and arguments.
    """

    name: ClassVar[str] = "command"

    def __init__(self, words: list[str]) -> None:
        found = shutil.which(words[0])
        if found is None:
            raise RecipeError(
                f"alerts.command: there is no program {words[0]!r} that can be run.",
                remedy="Give its path, and make it executable; or name its interpreter first: [python3, notify.py]",
            )
        self.words = [found, *words[1:]]

    def send(self, alert: Alert) -> None:
        """Run it."""
        environment = {
            "TRIMTAB_RUN": alert.run,
            "TRIMTAB_EVENT": alert.event,
            "TRIMTAB_SEVERITY": alert.severity,
            "TRIMTAB_MESSAGE": alert.body,
        }
        _run(self.words, json.dumps(alert.to_dict(), ensure_ascii=False), environment, COMMAND_SECONDS)


def open_channels(section: AlertsSection) -> list[Channel]:
    """The channels that a recipe wants.

    Raises:
        RecipeError: one cannot work here: a variable that is not set, a program that is not there.
    """
    channels: list[Channel] = []
    if section.desktop:
        channels.append(Desktop())
    if section.webhook is not None:
        channels.append(Webhook(section.webhook))
    if section.command is not None:
        channels.append(Command(section.command))
    return channels


def _printable(text: str) -> str:
    """`text` without the characters that no argument and no variable can hold."""
    return text.replace("\0", "")


def _run(arguments: list[str], given: str, environment: dict[str, str], seconds: float) -> None:
    """Run a program to its end.

    Raises:
        ChannelError: it could not be started, took too long, or failed.
    """
    variables = {**os.environ, **{name: _printable(value) for name, value in environment.items()}}
    program = os.path.basename(arguments[0])  # noqa: PTH119 (a word for people)
    try:
        done = subprocess.run(
            arguments, input=given.encode("utf-8"), env=variables, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise ChannelError(f"{program} took longer than {seconds:g} s") from None
    except (OSError, ValueError) as error:
        raise ChannelError(f"{program} could not be run ({getattr(error, 'strerror', None) or error})") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ChannelError(f"{program} ended with code {done.returncode}{f': {said[-1][:200]}' if said else ''}")
