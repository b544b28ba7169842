"""What the trackers of others hold of a run, read by their own means."""

from __future__ import annotations

import csv
import json
import struct
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from trimtab.core.registry import TRACKERS


def need(kind: str) -> None:
    """Skip where a tracker's package is not installed."""
    missing = [name for name in TRACKERS.get(kind).packages if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (the extra '{kind}')")


def points(kind: str, run: Path, name: str) -> list[tuple[int, float]]:
    """(step, value) of one figure in the order in which the tracker shows them; double ones twice."""
    return _POINTS[kind](run, name)


def result(kind: str, run: Path, name: str) -> float:
    """A final metric."""
    if kind == "csv":
        with open(run / "tracking" / "csv" / "results.csv", encoding="utf-8-sig", newline="") as file:
            return float(dict(csv.reader(file))[name])
    if kind == "wandb":
        return float(_wandb_summary(run)[name])
    return points(kind, run, name)[-1][1]


def text(kind: str, run: Path, name: str) -> str:
    """What was said of a finding."""
    if kind == "csv":
        return (run / "tracking" / "csv" / "findings.csv").read_text(encoding="utf-8-sig")
    if kind == "tensorboard":
        (event,) = _log(run).Tensors(f"findings/{name}")
        return bytes(event.tensor_proto.string_val[0]).decode("utf-8")
    if kind == "mlflow":
        return str(mlflow_run(run).data.tags[f"finding.{name}"])
    return str(_wandb_summary(run)[f"finding/{name}"])


def mlflow_run(run: Path, project: str = "trimtab") -> Any:
    """The one run of the store beside `run`."""
    client, (found,) = _mlflow(run, project)
    return client.get_run(found.info.run_id)


def _mlflow(run: Path, project: str) -> tuple[Any, list[Any]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(project)
    named = f"tags.`trimtab.run` = '{run.absolute()}'"
    return client, list(client.search_runs([experiment.experiment_id], filter_string=named))


def _mlflow_points(run: Path, name: str) -> list[tuple[int, float]]:
    client, (found,) = _mlflow(run, "trimtab")
    history = client.get_metric_history(found.info.run_id, name)
    return sorted((metric.step, metric.value) for metric in history)


def _csv_points(run: Path, name: str) -> list[tuple[int, float]]:
    with open(run / "tracking" / "csv" / "metrics.csv", encoding="utf-8", newline="") as file:
        return [(int(row["step"]), float(row[name])) for row in csv.DictReader(file) if row.get(name)]


def _log(run: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(run / "tracking" / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    log.Reload()
    return log


def _tensorboard_points(run: Path, name: str) -> list[tuple[int, float]]:
    log = _log(run)
    return [(e.step, e.value) for e in log.Scalars(name)] if name in log.Tags()["scalars"] else []


def _wandb_records(run: Path) -> list[Any]:
    """The records of all parts of an offline run, the parts in order of time, all of one id.

    A process of its own writes them, and may still be at it when the run has ended.
    """
    end = time.monotonic() + 20
    while True:
        files = sorted((run / "tracking" / "wandb").glob("offline-run-*/run-*.wandb"))
        assert len({file.name for file in files}) == 1, files
        records = [record for file in files for record in _wandb_file(file)]
        if any(record.WhichOneof("record_type") == "exit" for record in records[-3:]) or time.monotonic() > end:
            return records
        time.sleep(0.05)


def _wandb_file(path: Path) -> list[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    records = []
    for content in _leveldb_log(path.read_bytes()[7:], 32768 - 7):
        records.append(Record())
        records[-1].ParseFromString(content)
    return records


def _leveldb_log(data: bytes, first: int) -> list[bytes]:
    """The records of a log of LevelDB's format: blocks of 32 KiB, records cut at their ends; a torn one is left."""
    records, part, place, end = [], b"", 0, first
    while place + 7 <= len(data):
        if end - place < 7:
            place, end = end, end + 32768
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        content = data[place + 7 : place + 7 + length]
        if kind == 0 or len(content) < length:
            break
        part += content
        if kind in (1, 4):
            records.append(part)
            part = b""
        place += 7 + length
        if place >= end:
            end += 32768
    return records


def _wandb_points(run: Path, name: str) -> list[tuple[int, float]]:
    found = []
    for record in _wandb_records(run):
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            if name in items:
                found.append((int(items["_step"]), float(json.loads(items[name]))))
    return found


def _wandb_summary(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for record in _wandb_records(run):
        if record.WhichOneof("record_type") == "summary":
            for item in record.summary.update:
                summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return summary


_POINTS = {"csv": _csv_points, "tensorboard": _tensorboard_points, "mlflow": _mlflow_points, "wandb": _wandb_points}
