"""A few steps with `torch.compile` give the losses of the plain model; needs a C++ compiler."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import tiny

from trimtab.config.load import build_recipe
from trimtab.core.events import read_events
from trimtab.pipeline.train import train

SETTINGS = {
    "training.device": "cpu",
    "training.precision": "fp32",
    "training.batch_size": 8,
    "training.max_steps": 3,
    "model.dropout": 0.0,
    "retention.measure": False,
    "evaluation.baselines": False,
    "evaluation.bootstrap_samples": 100,
}


@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None and shutil.which("clang++") is None,
    reason="torch.compile needs a C++ compiler, and there is none",
)
def test_a_compiled_model_trains_like_the_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    # Starting a pool of compilers takes longer than these few kernels.
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)
    model = tiny.save_bert(tmp_path / "bert", num_hidden_layers=1)
    words = [words for pair in zip(*[iter(tiny.FILLER)] * 2, strict=False) for words in (pair, pair[::-1])]
    # Rows of one length, so that there is one shape to compile.
    rows = [
        (f"{' '.join(words[index % len(words)])} {own[0]}", label)
        for index, (label, own) in enumerate(list(tiny.CLASS_WORDS.items()) * 16)
    ]
    frame = pd.DataFrame(rows, columns=["text", "label"])
    losses = {}
    for compiled in (True, False):
        output = tmp_path / f"compiled-{compiled}"
        own = {"model.name": str(model), "output": str(output), "training.compile": compiled}
        run = train(build_recipe(overrides={**SETTINGS, **own}), frame)
        losses[compiled] = [event["loss"] for event in read_events(run.events) if event["type"] == "step"]
    assert len(losses[True]) == 3
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
