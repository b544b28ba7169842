"""What is asked of several processes is done by all of them at the same step, and none waits for the others in vain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks
import tiny_engine
import torch
from asked_runs import command, put

from trimtab.core.errors import InterruptedRun
from trimtab.core.events import EventLog, read_events
from trimtab.core.runs import RunDirectory
from trimtab.pipeline import control
from trimtab.pipeline.helm import Helm, class_weights_of
from trimtab.training import session as sessions
from trimtab.training.checkpoints import CheckpointStore
from trimtab.training.rewind import Rewind
from trimtab.training.steering import Steering

ASKS = {
    2: command("learning_rate", factor=0.5),
    3: command("remedy", finding="overfitting"),
    4: command("checkpoint"),
    5: command("pause"),
    7: command("stop"),
}


def asked_run(folder: str) -> tuple[list[np.ndarray], dict[int, float], str]:
    """Train in this process as one of several; its weights, the rate of each step, and how it ended."""
    run = RunDirectory(Path(folder))
    control.POLL_SECONDS = 0.0
    recipe = tiny_engine.make_recipe(training={"num_epochs": 3}, schedule={"name": "constant", "warmup_ratio": 0.0})
    engine = tiny_engine.make_engine(tiny_engine.make_model(), tiny_engine.make_examples(32), recipe)
    engine.wrap = engine.accelerator.prepare_model
    engine._set_stage()
    first = engine.accelerator.is_main_process
    events = EventLog(run.events if first else None)
    store = CheckpointStore(run.checkpoints, 5)
    helm = Helm(engine, Steering(engine, (), class_weights_of(engine)), Rewind(engine, engine._bare, store))

    def leave(event: dict[str, Any]) -> None:
        if event["type"] == "step" and event["step"] in ASKS:
            put(run.path, event["step"], ASKS[event["step"]])

    def sleep(seconds: float) -> None:
        if first:
            put(run.path, 6, command("resume"))

    events.listen(leave)
    sessions.time.sleep = sleep  # type: ignore[attr-defined,assignment]
    session = sessions.Session(
        engine=engine,
        model=engine._bare,
        evaluate=lambda: sessions.Judgement("accuracy", 0.5, True, {"accuracy": 0.5}),
        store=store,
        events=events,
        describe_rows=str,
        resume_command="",
        control=control.Controller(run, helm, events, lambda name: None),
    )
    ended = "finished"
    try:
        session.run()
    except InterruptedRun:
        ended = "stopped"
    weights = [tensor.numpy() for tensor in tiny_engine.weights_of(engine._bare).values()]
    return weights, {engine.progress.step: engine.progress.steered.rate_scale}, ended


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")
def test_two_processes_do_what_one_is_asked(tmp_path: Path) -> None:
    (first, where, ended), (second, other, also) = ranks.run(2, asked_run, str(tmp_path))

    assert ended == also == "stopped"
    assert where == other == {7: 0.5}
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(first, second, strict=True))
    events = list(read_events(tmp_path / "events.jsonl"))
    told = [(event["command"], event["step"], event["accepted"]) for event in events if event["type"] == "control"]
    assert told == [
        ("learning_rate", 2, True), ("remedy", 3, False), ("checkpoint", 4, True), ("pause", 5, True),
        ("resume", 5, True), ("stop", 7, True),
    ]  # fmt: skip
    refused = next(event for event in events if event.get("command") == "remedy")
    assert "in one process" in refused["reason"]
    rates = {event["step"]: event["learning_rates"]["all"] for event in events if event["type"] == "step"}
    assert rates[3] == pytest.approx(0.5 * rates[2])
    assert {checkpoint.step for checkpoint in CheckpointStore(tmp_path / "checkpoints", 5).all()} >= {2, 4, 7}
