"""Which events somebody is told of: grave enough, once each, and never at the cost of the run."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

from trimtab.config.alerts import AlertsSection
from trimtab.core.runs import RunDirectory
from trimtab.integrations import alerts as module
from trimtab.integrations.alert import Alert, ChannelError
from trimtab.integrations.alerts import Alerts


class Listed:
    """A channel that keeps what it was sent."""

    name: ClassVar[str] = "listed"

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[Alert] = []
        self.error = error
        self.open = threading.Event()
        self.open.set()

    def send(self, alert: Alert) -> None:
        self.open.wait(20)
        self.sent.append(alert)
        if self.error is not None:
            raise self.error


def finding(name: str, severity: str, step: int = 5, **fields: Any) -> dict[str, Any]:
    return {"type": "finding", "step": step, "name": name, "severity": severity, "message": f"{name}!", **fields}


def alerts(tmp_path: Path, channel: Listed, earlier: Any = (), **section: Any) -> Alerts:
    return Alerts(AlertsSection(command=["x"], **section), RunDirectory(tmp_path / "run"), [channel], earlier)


def test_what_is_grave_enough_is_told_once_and_again_when_it_gets_graver(tmp_path: Path) -> None:
    channel = Listed()
    told = alerts(tmp_path, channel, severity="warning")
    for severity in ("info", "warning", "warning", "info", "act", "act", "warning"):
        told.hear(finding("overfitting", severity))
    told.hear(finding("other", "act", remedy="Do it."))
    told.close()
    assert [(alert.name, alert.severity) for alert in channel.sent] == [
        ("overfitting", "warning"), ("overfitting", "act"), ("other", "act"),
    ]  # fmt: skip
    assert channel.sent[-1].remedy == "Do it." and channel.sent[-1].step == 5


def test_a_resumed_run_does_not_repeat_what_was_told(tmp_path: Path) -> None:
    channel = Listed()
    told = alerts(tmp_path, channel, [finding("old", "act"), finding("small", "warning")])
    for event in (finding("old", "act"), finding("small", "act")):
        told.hear(event)
    told.close()
    assert [alert.name for alert in channel.sent] == ["small"]


def test_refused_data_that_were_forced_are_grave(tmp_path: Path) -> None:
    channel = Listed()
    told = alerts(tmp_path, channel)
    told.hear(finding("unknown_tokens", "refuse", by="data"))
    told.close()
    assert channel.sent[0].severity == "act"


def test_an_alert_carries_the_last_value(tmp_path: Path) -> None:
    channel = Listed()
    told = alerts(tmp_path, channel)
    told.hear({"type": "evaluation", "step": 4, "metric": "accuracy", "metrics": {"accuracy": 0.5, "loss": 1.0}})
    told.hear(finding("overfitting", "act"))
    told.close()
    assert (channel.sent[0].metric, channel.sent[0].value) == ("accuracy", 0.5)


def test_ends_are_told_with_the_result_or_the_reason(tmp_path: Path) -> None:
    channel = Listed()
    told = alerts(tmp_path, channel)
    (tmp_path / "run").mkdir()
    metrics = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}}
    judged = {"split": "test", "primary_metric": "accuracy", "metrics": metrics, "verdict": "Good."}
    (tmp_path / "run" / "evaluation.json").write_text(json.dumps(judged), encoding="utf-8")
    told.end("finished")
    told.end("failed", "Memory ran out.", "Use less.")
    told.close()
    finished, failed = channel.sent
    assert finished.message == "accuracy 0.900 (0.800 to 0.950) on the test rows. Good."
    assert (finished.value, finished.low, finished.high) == (0.9, 0.8, 0.95)
    assert (failed.event, failed.severity, failed.message, failed.remedy) == (
        "failed", "act", "Memory ran out.", "Use less.",
    )  # fmt: skip


def test_ends_are_not_told_where_nobody_wants_them(tmp_path: Path) -> None:
    channel = Listed()
    told = alerts(tmp_path, channel, on_end=False)
    told.end("finished")
    told.close()
    assert channel.sent == []


@pytest.mark.parametrize(
    ("error", "reason"), [(ChannelError("no luck"), "no luck"), (KeyError("secret"), "it failed with KeyError")]
)
def test_the_failures_of_a_channel_are_one_notice(tmp_path: Path, error: Exception, reason: str) -> None:
    channel = Listed(error)
    told = alerts(tmp_path, channel)
    for name in ("one", "two"):
        told.hear(finding(name, "act"))
    told.close()
    assert len(channel.sent) == 2
    assert told.faults() == [("listed", reason)]
    assert told.faults() == []


def test_nobody_waits_for_a_channel_but_at_the_end_and_then_not_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST_SECONDS", 0.05)
    channel = Listed()
    channel.open.clear()
    told = alerts(tmp_path, channel)
    told.hear(finding("slow", "act"))
    assert channel.sent == []
    told.close()
    assert "still on its way" in told.faults()[0][1]
    channel.open.set()
