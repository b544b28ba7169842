"""Which events of a run somebody is told of, once each."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.config.alerts import AlertsSection
from trimtab.core.runs import RunDirectory
from trimtab.integrations.alert import Alert, ChannelError
from trimtab.integrations.channels import Channel
from trimtab.integrations.worker import Worker, finish_all

SEVERITIES = ("info", "warning", "act")
LAST_SECONDS = 8.0
"""How long the end of a run waits for alerts that are on their way."""


class Alerts:
    """Hears the events of a run and sends what is worth it down every channel; training waits for none.

    Args:
        section: what is worth it.
        run: the run.
        channels: the ways to somebody.
        earlier: events of the run before it was resumed; what they tell has been told.
    """

    def __init__(
        self,
        section: AlertsSection,
        run: RunDirectory,
        channels: list[Channel],
        earlier: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self.section = section
        self.run = run
        self._channels = [(channel, Worker(f"alerts-{channel.name}")) for channel in channels]
        self._told: dict[str, int] = {}
        self._step = 0
        self._judged: Mapping[str, Any] = {}
        self._faults: list[tuple[str, str]] = []
        self._failed: set[str] = set()
        self._lock = threading.Lock()
        for event in earlier:
            if event.get("type") == "finding":
                self._is_new(event)

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take note of an event, and tell of it if it is worth it."""
        kind = event["type"]
        self._step = event.get("step") or self._step
        if kind == "evaluation":
            self._judged = event
        elif kind == "finding" and self._is_new(event):
            self._send(
                Alert(
                    run=str(self.run.path),
                    event="finding",
                    severity=_severity(event),
                    name=str(event.get("name", "")),
                    message=str(event.get("message", "")),
                    remedy=str(event.get("remedy") or ""),
                    step=self._step,
                    **self._last_value(),
                )
            )

    def end(self, state: str, message: str = "", remedy: str = "") -> None:
        """Tell how the run ended.

        Args:
            state: `finished`, `stopped` or `failed`.
            message: why, of a run that did not finish.
            remedy: what to do.
        """
        if not self.section.on_end:
            return
        result: dict[str, Any] = self._last_value()
        if state == "finished":
            result, message = self._result()
        severity = "act" if state == "failed" else "info"
        run, step = str(self.run.path), self._step
        self._send(Alert(run, state, severity, state, message, remedy, step, **result))

    def close(self) -> None:
        """Wait a few seconds for what is on its way."""
        done = finish_all([worker for _, worker in self._channels], LAST_SECONDS)
        for (channel, _), is_done in zip(self._channels, done, strict=True):
            if not is_done:
                self._note(channel.name, f"an alert was still on its way after {LAST_SECONDS:g} s, and is left")

    def faults(self) -> list[tuple[str, str]]:
        """(channel, reason) of those that failed since the last call; each channel's first failure alone."""
        with self._lock:
            found, self._faults = self._faults, []
        return found

    def _is_new(self, event: Mapping[str, Any]) -> bool:
        """Whether a finding is grave enough, and was not told with this gravity."""
        grave, name = SEVERITIES.index(_severity(event)), str(event.get("name"))
        if grave < SEVERITIES.index(self.section.severity) or grave <= self._told.get(name, -1):
            return False
        self._told[name] = grave
        return True

    def _last_value(self) -> dict[str, Any]:
        """The metric of the last evaluation on the validation rows."""
        metric = self._judged.get("metric")
        return {"metric": metric, "value": (self._judged.get("metrics") or {}).get(metric)} if metric else {}

    def _result(self) -> tuple[dict[str, Any], str]:
        """The final metric with its interval, and a sentence of it."""
        try:
            judged = json.loads(self.run.evaluation.read_text(encoding="utf-8"))
            metric = judged["primary_metric"]
            found = {"metric": metric, **{key: judged["metrics"][metric][key] for key in ("value", "low", "high")}}
        except (OSError, ValueError, KeyError, TypeError):
            return self._last_value(), "The run has finished."
        numbers = [found[key] for key in ("value", "low", "high")]
        if not all(isinstance(number, int | float) for number in numbers):
            return found, f"The run has finished. {judged.get('verdict', '')}".strip()
        value, low, high = (f"{number:.3f}" for number in numbers)
        said = f"{metric} {value} ({low} to {high}) on the {judged.get('split')} rows. {judged.get('verdict', '')}"
        return found, said.strip()

    def _send(self, alert: Alert) -> None:
        for channel, worker in self._channels:
            worker.submit(lambda channel=channel: self._deliver(channel, alert))  # type: ignore[misc]

    def _deliver(self, channel: Channel, alert: Alert) -> None:
        try:
            channel.send(alert)
        except ChannelError as error:
            self._note(channel.name, error.message)
        except Exception as error:  # noqa: BLE001 (whatever a channel does, the run goes on; its text may hold secrets)
            self._note(channel.name, f"it failed with {type(error).__name__}")

    def _note(self, channel: str, reason: str) -> None:
        with self._lock:
            if channel not in self._failed:
                self._failed.add(channel)
                self._faults.append((channel, reason))


def _severity(event: Mapping[str, Any]) -> str:
    """A finding's severity in our words; the data report has one more, `refuse`, for what the user went over."""
    severity = str(event.get("severity"))
    return severity if severity in SEVERITIES else "act" if severity == "refuse" else "info"
