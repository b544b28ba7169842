"""A run that cannot go on ends with exit code 1, words, and no traceback."""

from __future__ import annotations

from pathlib import Path

import processes
import tiny

from trimtab.core.events import read_events

SETTINGS = {
    "training.device": "cpu",
    "training.precision": "fp32",
    "training.max_grad_norm": "null",
    "training.max_nonfinite_steps": 2,
    "optimizer.learning_rate": 1e30,
    "schedule.warmup_ratio": 0,
}


def test_divergence_names_step_rows_and_remedy(tmp_path: Path) -> None:
    tiny.save_bert(tmp_path / "bert")
    tiny.write_csv(tmp_path / "texts.csv", 60)
    settings = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]

    command = processes.finish(
        tmp_path, "train", "texts.csv", "--model", "./bert", "--output", "run", "--batch-size", "8", *settings
    )

    assert command.exit_code == 1, command.stderr
    assert "Traceback" not in command.stderr
    assert "error: Step " in command.stderr
    assert "for the 2. step in a row" in command.stderr
    assert "texts.csv row " in command.stderr
    assert "--learning-rate" in command.stderr
    skipped = [event for event in read_events(tmp_path / "run" / "events.jsonl") if event.get("skipped")]
    assert len(skipped) == 2
    assert all(event["loss"] != 0.0 for event in skipped)
    assert not (tmp_path / "run" / "model").exists()
