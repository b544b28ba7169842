"""The doctor beside a real Trainer of transformers, on a tiny model."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from command import trimtab as command
from transformers import BertForSequenceClassification, Trainer, TrainingArguments
from transformers.trainer_utils import EvalPrediction

import trimtab
from trimtab.core.events import read_events
from trimtab.monitor.findings import Finding
from trimtab.monitor.foreign.points import Point
from trimtab.monitor.reading import open_trace

LABELS = list(tiny.CLASS_WORDS)


def rows(count: int, *, seed: int = 0, shuffled: bool = False) -> list[dict[str, Any]]:
    """Encoded texts; with labels that have nothing to do with them when `shuffled`."""
    tokenizer = tiny.make_tokenizer()
    found = []
    for index, (text, label) in enumerate(tiny.labelled_texts(count, seed=seed)):
        encoded = tokenizer(text, padding="max_length", max_length=12, truncation=True)
        known = (index * 7 + index // 5) % 3 if shuffled else LABELS.index(label)
        found.append({name: encoded[name] for name in ("input_ids", "attention_mask")} | {"labels": known})
    return found


def accuracy(predicted: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


def make_trainer(
    folder: Path, callback: Any, train: list[Any], validation: Any, kind: type[Trainer] = Trainer, **settings: Any
) -> Trainer:
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        tiny.bert_config(num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    )
    arguments = {
        "per_device_train_batch_size": 8,
        "num_train_epochs": 3,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    return kind(
        model,
        TrainingArguments(str(folder), **{**arguments, **settings}),
        train_dataset=train,
        eval_dataset=validation,
        compute_metrics=accuracy,
        callbacks=[callback],
    )


class BreaksAtStep(Trainer):
    """Its weights become NaN after six steps."""

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 6:
            with torch.no_grad():
                self.model.classifier.weight.fill_(math.nan)
        return super().training_step(*args, **kwargs)


def test_weights_that_become_nan_are_told_while_the_trainer_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = trimtab.DoctorCallback()
    trainer = make_trainer(tmp_path, callback, rows(48), rows(24, seed=1), BreaksAtStep)
    with caplog.at_level(logging.INFO, logger="trimtab"):
        trainer.train()

    assert trainer.state.global_step == 18
    found = {finding.name: finding for finding in callback.findings}
    assert (found["divergence"].severity, found["divergence"].since) == ("act", 7)
    told = [record for record in caplog.records if record.name == "trimtab" and "divergence" in record.message]
    assert len(told) == 1 and told[0].levelno == logging.WARNING
    assert found["divergence"].remedy in told[0].message

    record = open_trace(tmp_path)
    assert record.facts.origin == "trainer"
    assert (record.facts.total_steps, record.facts.steps_per_epoch, record.facts.batch_size) == (18, 6, 8)
    assert record.facts.rows == {"train": 48} and record.facts.label_counts == {"train": [16, 16, 16]}
    assert record.facts.parameters == sum(parameter.numel() for parameter in trainer.model.parameters())
    assert (record.facts.metric, record.facts.higher_is_better) == ("accuracy", True)
    assert [evaluation.detail["rows"] for evaluation in record.evaluations] == [24, 24, 24]
    assert record.last_step == 18 and record.end
    written = json.loads((tmp_path / "trimtab_doctor" / "diagnosis.json").read_text())
    assert [finding["name"] for finding in written["findings"]] == list(found)
    assert "suspect_labels" not in written["examined"]
    assert [finding.name for finding in trimtab.diagnose(tmp_path)] == list(found)
    outcome = command("diagnose", tmp_path)
    assert outcome.code == 0 and "step 7" in outcome.out

    # What the Trainer itself wrote tells the same.
    trainer.save_state()
    (other,) = (
        finding for finding in trimtab.diagnose(tmp_path / "trainer_state.json") if finding.name == "divergence"
    )
    assert other.since == 7


def test_it_stops_a_training_that_is_lost_where_that_is_wanted(tmp_path: Path) -> None:
    callback = trimtab.DoctorCallback(stop_on_act=True, write=False)
    trainer = make_trainer(tmp_path / "out", callback, rows(48), rows(24, seed=1), BreaksAtStep)
    trainer.train()
    assert 7 <= trainer.state.global_step <= 9
    assert not (tmp_path / "out" / "trimtab_doctor").exists()


def test_rows_learned_by_heart_are_told_as_overfitting(tmp_path: Path) -> None:
    callback = trimtab.DoctorCallback()
    train = rows(24, shuffled=True)
    sets = {"validation": rows(48, seed=1, shuffled=True), "train": train}
    make_trainer(tmp_path, callback, train, sets, num_train_epochs=40, learning_rate=1e-2).train()

    found = {finding.name: finding for finding in callback.findings}
    assert found["overfitting"].severity in ("warning", "act")
    trace = open_trace(tmp_path)
    assert len(trace.evaluations) == 40
    assert all(set(evaluation.held_in) == {"loss", "accuracy", "rows"} for evaluation in trace.evaluations)
    assert (trace.evaluations[0].held_in["rows"], trace.evaluations[0].detail["rows"]) == (24, 48)
    assert trace.evaluations[-1].held_in["loss"] < 0.3 < trace.evaluations[-1].values["loss"]


def test_a_healthy_training_is_told_nothing_that_calls_for_action(tmp_path: Path) -> None:
    callback = trimtab.DoctorCallback()
    make_trainer(tmp_path, callback, rows(96), rows(48, seed=1), num_train_epochs=4, learning_rate=5e-3).train()
    assert [finding.name for finding in callback.findings if finding.severity == "act"] == []


def test_the_training_is_the_same_with_and_without_it(tmp_path: Path) -> None:
    with_doctor = make_trainer(tmp_path / "a", trimtab.DoctorCallback(), rows(24), rows(12, seed=1))
    without = make_trainer(tmp_path / "b", trimtab.DoctorCallback(write=False), rows(24), rows(12, seed=1))
    without.pop_callback(trimtab.DoctorCallback)
    with_doctor.train()
    without.train()
    for one, other in zip(with_doctor.model.parameters(), without.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_second_training_begins_a_new_record_and_a_resumed_one_goes_on(tmp_path: Path) -> None:
    settings = {"save_strategy": "epoch", "num_train_epochs": 2}
    make_trainer(tmp_path, trimtab.DoctorCallback(), rows(24), rows(12, seed=1), **settings).train()
    make_trainer(tmp_path, trimtab.DoctorCallback(), rows(24), rows(12, seed=1), **settings).train()
    events = list(read_events(tmp_path / "trimtab_doctor" / "events.jsonl"))
    assert sum(event["type"] == "start" for event in events) == 1

    settings["num_train_epochs"] = 3
    trainer = make_trainer(tmp_path, trimtab.DoctorCallback(), rows(24), rows(12, seed=1), **settings)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    trace = open_trace(tmp_path)
    assert list(trace.steps) == list(range(1, 10))
    assert trace.facts.total_steps == 9


def test_losses_that_are_logged_too_seldom_are_pointed_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    callback = trimtab.DoctorCallback()
    make_trainer(tmp_path, callback, rows(24), rows(12, seed=1), logging_steps=500).train()
    assert any("logged every 500 of 9 steps" in record.message for record in caplog.records)


def test_evaluations_after_the_training_do_not_replace_those_of_it(tmp_path: Path) -> None:
    callback = trimtab.DoctorCallback()
    trainer = make_trainer(tmp_path, callback, rows(24), rows(12, seed=1))
    trainer.train()
    before = open_trace(tmp_path).evaluations[-1].values
    trainer.evaluate(rows(12, seed=5, shuffled=True))
    assert open_trace(tmp_path).evaluations[-1].values == before


def test_a_condition_that_fails_and_a_full_disk_do_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Any, trace: Any) -> list[Finding]:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("trimtab.monitor.conditions.overfitting.Overfitting.examine", broken)
    (tmp_path / "trimtab_doctor").write_text("in the way")
    callback = trimtab.DoctorCallback()
    make_trainer(tmp_path, callback, rows(24), rows(12, seed=1)).train()
    told = " ".join(record.message for record in caplog.records)
    assert "keeps no record" in told
    assert told.count("could not look for overfitting: ZeroDivisionError('planted')") == 1


def test_nothing_is_said_before_a_training() -> None:
    callback = trimtab.DoctorCallback()
    assert callback.findings == []
    assert Point(1).rows == 0
