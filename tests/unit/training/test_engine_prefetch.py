"""Batches made ahead change nothing that the loop computes."""

from __future__ import annotations

import threading

import tiny_engine
import torch

from trimtab.data.prefetch import AHEAD
from trimtab.training.records import StepRecord


def _trained(ahead: int) -> tuple[list[StepRecord], dict[str, torch.Tensor]]:
    model = tiny_engine.make_model(dropout=0.1)
    recipe = tiny_engine.make_recipe(training={"num_epochs": 2, "batch_size": 8, "max_tokens_per_batch": 40})
    engine = tiny_engine.make_engine(model, tiny_engine.make_examples(40), recipe)
    engine._batches.ahead = ahead
    engine._waiting.settled = True
    torch.manual_seed(0)
    return list(engine.steps()), model.state_dict()


def test_the_weights_are_the_same_bit_for_bit() -> None:
    plain, expected = _trained(0)
    ahead, weights = _trained(AHEAD)
    assert [record.loss for record in ahead] == [record.loss for record in plain]
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
    assert all(0 < record.data_seconds <= record.seconds for record in plain)
    assert "data_seconds" in plain[0].to_event()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("trimtab-prefetch")]


def test_leaving_the_loop_ends_the_thread() -> None:
    model = tiny_engine.make_model()
    engine = tiny_engine.make_engine(model, tiny_engine.make_examples(40), tiny_engine.make_recipe())
    engine._batches.ahead = AHEAD
    steps = engine.steps()
    next(steps)
    steps.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("trimtab-prefetch")]
