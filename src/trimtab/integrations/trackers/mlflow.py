"""Runs of MLflow, in an SQLite file or on a server."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from trimtab.config.alerts import REFERENCE
from trimtab.config.tracking import TrackingSection, store_fault
from trimtab.core.errors import RecipeError
from trimtab.core.registry import TRACKERS
from trimtab.integrations.points import Row, results
from trimtab.integrations.references import resolved
from trimtab.integrations.trackers.base import Outcome, Place, Tracker

# Limits of MLflow: metrics, parameters and tags of one call, and characters of a parameter and a tag.
MOST_METRICS, MOST_PARAMETERS = 1000, 100
MOST_CHARACTERS, MOST_TAG_CHARACTERS = 6000, 5000
STATES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@TRACKERS.register("mlflow")
class Mlflow(Tracker):
    """MLflow: recipe as parameters, figures by step, findings as tags, report and recipe as artefacts."""

    extra: ClassVar[str] = "mlflow"
    packages: ClassVar[tuple[str, ...]] = ("mlflow", "sqlalchemy", "alembic")
    goes_back: ClassVar[bool] = False
    most_steps: ClassVar[int | None] = 5000

    def __init__(self, place: Place, state: Mapping[str, Any]) -> None:
        super().__init__(place, state)
        self._id: str = str(state.get("run_id") or "")
        self._client: Any = None

    @classmethod
    def check(cls, section: TrackingSection) -> None:
        """See that the packages and the store are there."""
        super().check(section)
        if section.uri is not None and REFERENCE.fullmatch(section.uri):
            # Whoever reads the variable may read a password in it; it stands in no file.
            _, _, server = resolved(section.uri, "tracking.uri").partition("://")
            fault = store_fault(resolved(section.uri, "tracking.uri").replace(server, server.rpartition("@")[2]))
            if fault:
                raise RecipeError(f"tracking.uri: what {section.uri} holds cannot be used: {fault}.")

    def begin(self, start: Mapping[str, Any], recipe: Mapping[str, Any]) -> int | None:
        """Make a run, or go on with the one of the session before."""
        # It would report on its use to its makers, over the network.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from mlflow.tracking import MlflowClient

        uri, artefacts = _store(self.place)
        self._client = MlflowClient(tracking_uri=uri)
        if self._id and self._take_up():
            return self._held()
        experiment = self._client.get_experiment_by_name(self.place.section.project)
        number = (
            experiment.experiment_id
            if experiment is not None
            else self._client.create_experiment(self.place.section.project, artifact_location=artefacts)
        )
        tags = {"mlflow.source.name": "trimtab", "trimtab.run": str(self.place.run.path.absolute())}
        tags |= {
            f"trimtab.{name}": str(start[name]) for name in ("model", "task", "strategy", "metric") if name in start
        }
        self._id = self._client.create_run(number, run_name=self.place.name, tags=tags).info.run_id
        self._parameters(recipe)
        return None

    def write(self, rows: Sequence[Row]) -> None:
        """Log the figures, those of one step in one call."""
        from mlflow.entities import Metric

        batch: list[Any] = []
        for row in rows:
            metrics = [Metric(_key(name), value, int(row.time * 1000), row.step) for name, value in row.values.items()]
            if len(batch) + len(metrics) > MOST_METRICS:
                self._client.log_batch(self._id, metrics=batch)
                batch = []
            batch += metrics
        for place in range(0, len(batch), MOST_METRICS):
            self._client.log_batch(self._id, metrics=batch[place : place + MOST_METRICS])

    def finding(self, event: Mapping[str, Any]) -> None:
        """Set it as a tag, which the list of runs can be searched by."""
        text = f"{event.get('severity')}: {event.get('message')} {event.get('remedy') or ''}".strip()
        self._client.set_tag(self._id, _key(f"finding.{event.get('name')}"), text[:MOST_TAG_CHARACTERS])

    def end(self, outcome: Outcome) -> None:
        """Log the final metrics and the files, and set the state of the run."""
        run = self.place.run
        if outcome.judged:
            self.write([Row(outcome.step, outcome.time, results(outcome.judged))])
        if outcome.message:
            self._client.set_tag(self._id, "mlflow.note.content", outcome.message[:MOST_TAG_CHARACTERS])
        files = [run.recipe, run.environment]
        for file in [*files, *([run.path / "report.html", run.diagnosis] if outcome.judged else [])]:
            if file.is_file():
                self._client.log_artifact(self._id, str(file))
        self._client.set_terminated(self._id, STATES[outcome.state], end_time=int(outcome.time * 1000))

    def state(self) -> dict[str, Any]:
        """The run's id."""
        return {"run_id": self._id}

    def _take_up(self) -> bool:
        """Go on with the known run; False where it was deleted."""
        from mlflow.exceptions import MlflowException

        try:
            if self._client.get_run(self._id).info.lifecycle_stage != "active":
                return False
            self._client.update_run(self._id, status="RUNNING")
        except MlflowException:
            return False
        return True

    def _held(self) -> int:
        """The last step that the store holds; it is asked, since a killed process may have told more than it noted."""
        history = self._client.get_metric_history(self._id, "train/loss")
        return max((metric.step for metric in history), default=0)

    def _parameters(self, recipe: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        given = [Param(_key(key), _text(value)) for key, value in recipe.items() if value is not None]
        for place in range(0, len(given), MOST_PARAMETERS):
            self._client.log_batch(self._id, params=given[place : place + MOST_PARAMETERS])


def _store(place: Place) -> tuple[str, str | None]:
    """The URI of the store, and where artefacts go; a server sees to them itself."""
    runs = place.run.path.absolute().parent
    given = resolved(place.section.uri, "tracking.uri") if place.section.uri else str(runs / "mlflow.db")
    if given.startswith(("http://", "https://")):
        return given, None
    file = Path(given.removeprefix("sqlite:///")).expanduser().absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{file}", (file.parent / "mlartifacts").as_uri()


def _key(name: str) -> str:
    """`name` in the characters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:250]


def _text(value: Any) -> str:
    return str(value)[:MOST_CHARACTERS]
