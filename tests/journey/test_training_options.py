from __future__ import annotations

import csv
from pathlib import Path

import tiny

import trimtab


def test_gradient_checkpointing_changes_no_loss(tmp_path: Path) -> None:
    tiny.save_bert(tmp_path / "bert")
    with open(tmp_path / "data.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *tiny.labelled_texts(90)])
    losses = []
    for checkpointing in (False, True):
        run = trimtab.train(
            tmp_path / "data.csv",
            model=str(tmp_path / "bert"),
            output=tmp_path / f"run-{checkpointing}",
            epochs=2,
            settings={
                "training.gradient_checkpointing": checkpointing,
                "training.precision": "fp32",
                "evaluation.baselines": False,
            },
        )
        assert run.model.is_gradient_checkpointing is False  # it is a matter of training, not of the model kept
        losses.append([event["loss"] for event in run.events if event["type"] == "step"])
    assert len(losses[0]) > 2
    assert losses[0] == losses[1]
