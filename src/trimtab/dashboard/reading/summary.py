"""The summary of a run for the list: cheap however long the run, and cheaper still where nothing has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from trimtab.core.runs import RunDirectory
from trimtab.dashboard.reading.findings import Finding, counts_of, finding_of, worst_of
from trimtab.dashboard.reading.foreign import sources_of
from trimtab.dashboard.reading.glance import Glance, Glancer
from trimtab.dashboard.reading.liveness import Freshness, error_of, is_process_alive, state_of
from trimtab.dashboard.reading.places import Place
from trimtab.dashboard.reading.plain import (
    Signature,
    finite,
    items,
    mapping,
    plain,
    read_json,
    read_raw_json,
    signature,
    text,
    whole,
)
from trimtab.dashboard.reading.recipes import flat_values, read_recipe

Summary = dict[str, Any]
Content = TypeVar("Content")
UNTOLD: dict[str, Any] = {"series": [], "rows": [], "evidence": {}}
"""Of a finding, what the list does not show."""


class Summariser:
    """The summary of one run, kept up to date.

    Args:
        place: where the run is.
        freshness: how long files have stood still.
    """

    def __init__(self, place: Place, freshness: Freshness) -> None:
        self.place = place
        self._freshness = freshness
        self._run = RunDirectory(place.record)
        self._glancer = Glancer(place.events)
        self._kept: dict[str, tuple[Signature | None, Any]] = {}

    def summary(self, error: Mapping[str, Any] | None = None) -> Summary:
        """The summary as it is now; the caller adds tags and notes.

        Args:
            error: why a foreign run cannot be read: `message` and `remedy`.
        """
        place, run = self.place, self._run
        glance, is_ours = self._read("events", place.events, lambda _: self._glancer.look()), place.foreign is None
        recipe: dict[str, Any] = self._read("recipe", run.recipe, lambda path: flat_values(read_recipe(path)))
        heartbeat: dict[str, Any] = self._read("heartbeat", run.heartbeat, read_json) if is_ours else {}
        evaluation: dict[str, Any] = self._read("evaluation", run.evaluation, _headline) if is_ours else {}
        about = self._read("environment", run.environment, lambda path: mapping(read_json(path).get("run")))
        findings = self._findings(glance)
        start, updated = glance.start, self._updated()
        return {
            "id": place.id,
            "name": place.name,
            "state": self._state(heartbeat, glance) if is_ours else "foreign",
            "started": updated if glance.first_time is None else glance.first_time,
            "updated": updated,
            "seconds": _seconds(glance),
            **{
                key: text(about.get(key)) or _named(recipe, key) or text(start.get(key)) or None
                for key in ("model", "data", "task", "strategy")
            },
            **_result(evaluation, heartbeat, glance),
            **_progress(heartbeat, glance),
            "findings": _counts(heartbeat, findings) if not evaluation else counts_of(findings),
            "worst": worst_of(findings),
            "curve": {"name": "loss", "points": self._glancer.curve},
            "tags": [],
            "note": "",
            "archived": False,
            "foreign": place.foreign,
            "error": dict(error) if error else error_of(heartbeat),
            "values": recipe,
        }

    def _state(self, heartbeat: Mapping[str, Any], glance: Glance) -> str:
        state = self._state_by(heartbeat, glance)
        if state != "crashed":
            return state
        # The run may have ended between the looks at its files and at its process.
        return self._state_by(read_json(self._run.heartbeat), glance)

    def _state_by(self, heartbeat: Mapping[str, Any], glance: Glance) -> str:
        run = self._run
        # Between the making of the directory and the first event there is the recipe alone.
        record = "events" if self._signature("events") is not None else "recipe"
        return state_of(
            is_finished=self._signature("evaluation") is not None,
            heartbeat=heartbeat,
            process_lives=is_process_alive(
                run.heartbeat,
                heartbeat,
                is_fresh=self._freshness.is_fresh(run.heartbeat, self._signature("heartbeat")),
            ),
            was_interrupted=glance.last_action.get("action") == "interrupted" and not glance.end,
            is_fresh=self._freshness.is_fresh(getattr(run, record), self._signature(record)),
        )

    def _findings(self, glance: Glance) -> list[Finding]:
        """Those of the data report and of the doctor, as far as they were come across; at the end, all."""
        final: list[Finding] | None = self._read("diagnosis", self._run.diagnosis, _diagnosed)
        found = list(glance.findings.values()) if final is None else final
        return [*glance.data_findings.values(), *found]

    def _updated(self) -> float | None:
        """When a file of the run was last written, by the clock of its disk, in seconds since the epoch."""
        if self.place.needs_conversion:
            times = [found[2] for _, found in sources_of(self.place)]
        else:
            times = [found[2] for name in ("events", "heartbeat", "evaluation") if (found := self._signature(name))]
        return max(times) / 1e9 if times else None

    def _signature(self, name: str) -> Signature | None:
        kept = self._kept.get(name)
        return kept[0] if kept else None

    def _read(self, name: str, path: Path, read: Callable[[Path], Content]) -> Content:
        """What `read` makes of a file, kept until the file changes."""
        found, kept = signature(path), self._kept.get(name)
        if kept is None or kept[0] != found:
            kept = self._kept[name] = (found, read(path))
        content: Content = kept[1]
        return content


def _diagnosed(path: Path) -> list[Finding] | None:
    """The findings of `diagnosis.json`, without what the list does not show; None where there is no such file."""
    diagnosis = read_raw_json(path)
    if not isinstance(diagnosis.get("findings"), list):
        return None
    return [finding_of({**value, **UNTOLD}) for value in diagnosis["findings"] if isinstance(value, dict)]


def _headline(path: Path) -> dict[str, Any]:
    """The main figure of `evaluation.json`; empty where there is none."""
    evaluation = read_raw_json(path)
    metric = text(evaluation.get("primary_metric"))
    if not metric:
        return {}
    interval = mapping(mapping(evaluation.get("metrics")).get(metric))
    return {
        "metric": metric,
        **{key: finite(interval.get(key)) for key in ("value", "low", "high")},
        "split": text(evaluation.get("split")) or None,
    }


def _result(evaluation: Mapping[str, Any], heartbeat: Mapping[str, Any], glance: Glance) -> dict[str, Any]:
    higher = glance.start.get("higher_is_better")
    shared = {"higher_is_better": higher if isinstance(higher, bool) else True}
    if evaluation:
        return {**shared, **evaluation}
    seen = glance.evaluation
    metric = text(heartbeat.get("metric")) or text(seen.get("metric")) or text(glance.start.get("metric")) or None
    value = finite(heartbeat.get("value"))
    if value is None and metric is not None:
        value = finite(mapping(seen.get("metrics")).get(metric))
    if not isinstance(higher, bool) and metric in ("loss", "log_loss", "ece", "perplexity"):
        shared = {"higher_is_better": False}
    split = "validation" if value is not None else None
    return {**shared, "metric": metric, "value": value, "low": None, "high": None, "split": split}


def _progress(heartbeat: Mapping[str, Any], glance: Glance) -> dict[str, Any]:
    step = whole(heartbeat.get("step"))
    loss, epoch = finite(glance.last_step.get("loss")), finite(glance.last_step.get("epoch"))
    total = whole(glance.start.get("total_steps"))
    return {
        "step": max(glance.step, step or 0) if heartbeat.get("state") == "running" else glance.step,
        "total_steps": total if total is not None else whole(heartbeat.get("total_steps")),
        "epoch": epoch if epoch is not None else finite(heartbeat.get("epoch")),
        "num_epochs": finite(glance.start.get("num_epochs", heartbeat.get("num_epochs"))),
        "loss": loss if loss is not None else finite(heartbeat.get("loss")),
        "seconds_left": finite(heartbeat.get("seconds_left")),
    }


def _seconds(glance: Glance) -> float | None:
    """From the first event to the last; None where the clock went backwards between them."""
    parts = [seconds for value in mapping(glance.end.get("seconds")).values() if (seconds := finite(value)) is not None]
    if parts:
        return round(sum(parts), 3)
    if glance.first_time is None or glance.last_time is None or glance.last_time < glance.first_time:
        return None
    return round(glance.last_time - glance.first_time, 3)


def _counts(heartbeat: Mapping[str, Any], findings: list[Finding]) -> dict[str, int]:
    """What the heartbeat counted, or what was come across where that is more."""
    told, seen = mapping(heartbeat.get("findings")), counts_of(findings)
    return {severity: max(count, whole(told.get(severity)) or 0) for severity, count in seen.items()}


def _named(recipe: Mapping[str, Any], key: str) -> str:
    """What the recipe says of `model`, `data`, `task` or `strategy`."""
    value = recipe.get({"model": "model.name", "data": "data.path"}.get(key, key))
    return ", ".join(map(str, items(plain(value)))) if isinstance(value, list) else text(value)
