"""Logs of TensorBoard, written by its own writer; torch's `SummaryWriter` is not needed for it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from trimtab.core.registry import TRACKERS
from trimtab.integrations.points import Row, results
from trimtab.integrations.trackers.base import Outcome, Place, Tracker


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """TensorBoard: scalars by step, the recipe as hyperparameters, findings and the verdict as text."""

    extra: ClassVar[str] = "tensorboard"
    packages: ClassVar[tuple[str, ...]] = ("tensorboard",)
    goes_back: ClassVar[bool] = True

    def __init__(self, place: Place, state: Mapping[str, Any]) -> None:
        super().__init__(place, state)
        self._last = int(state.get("step") or 0)
        self._resumes = bool(state)
        self._writer: Any = None

    def begin(self, start: Mapping[str, Any], recipe: Mapping[str, Any]) -> int | None:
        """Open a log; that of a session before is gone on with in a file beside it."""
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = self.place.folder / "tensorboard"
        self._writer = EventFileWriter(str(folder), max_queue_size=1000, flush_secs=30)
        if not self._resumes:
            self._hyperparameters(recipe, float(start.get("time") or time.time()))
        return self._last if self._resumes else None

    def write(self, rows: Sequence[Row]) -> None:
        """Add each row as one event."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        for row in rows:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in row.values.items()]
            self._add(row.step, row.time, summary=Summary(value=values))
            self._last = row.step

    def go_back(self, step: int) -> None:
        """Tell TensorBoard that the log starts anew after `step`, so that it drops what came later."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._add(step + 1, time.time(), session_log=SessionLog(status=SessionLog.START))
        self._last = min(self._last, step)

    def finding(self, event: Mapping[str, Any]) -> None:
        """Add it as text."""
        told = [f"**{event.get('severity')}** {event.get('message')}", str(event.get("remedy") or "")]
        self._text(f"findings/{event.get('name')}", "\n\n".join(told).strip(), event["step"], event["time"])

    def end(self, outcome: Outcome) -> None:
        """Add the final metrics at the last step, and the verdict."""
        if outcome.judged:
            self.write([Row(outcome.step, outcome.time, results(outcome.judged))])
        self._text("run/end", f"**{outcome.state}** {outcome.message}".strip(), outcome.step, outcome.time)
        self._writer.close()

    def flush(self) -> None:
        """Write what the writer holds to its file."""
        self._writer.flush()

    def state(self) -> dict[str, Any]:
        """The last step written."""
        return {"step": self._last}

    def _add(self, step: int, when: float, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(step=step, wall_time=when, **content))

    def _text(self, tag: str, text: str, step: int, when: float) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode("utf-8")], tensor_shape=shape)
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        value = Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
        self._add(step, when, summary=Summary(value=[value]))

    def _hyperparameters(self, recipe: Mapping[str, Any], when: float) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        plain = {key: value if isinstance(value, bool | int | float | str) else _text_of(value)
                 for key, value in recipe.items() if value is not None}  # fmt: skip
        self._add(0, when, summary=hparams_pb(plain, trial_id=self.place.name, start_time_secs=when))


def _text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
