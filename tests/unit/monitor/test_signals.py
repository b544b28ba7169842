"""What is recorded beside losses: against plain computations, and without a trace in the weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from command import trimtab
from safetensors.torch import load_file
from torch import nn

from trimtab.core.events import read_events
from trimtab.data.batching import Batch
from trimtab.metrics.scores import Scores
from trimtab.models.blocks import Block, Blocks
from trimtab.monitor.rows import RowRecord
from trimtab.monitor.signals.depth import DepthSignals
from trimtab.monitor.signals.features import leave_one_out, outside_view
from trimtab.monitor.signals.inspection import _relative_entropy
from trimtab.monitor.signals.outcome import describe_scores
from trimtab.monitor.signals.row_watch import margins


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    tiny.save_bert(folder / "bert")
    tiny.write_csv(folder / "data.csv", 120)
    return folder


def train(folder: Path, name: str, *values: str) -> Path:
    flags = [word for value in values for word in ("--set", value)]
    outcome = trimtab(
        "train", str(folder / "data.csv"), "--model", str(folder / "bert"), "--output", str(folder / name),
        "--epochs", "3", "--set", "evaluation.bootstrap_samples=100", "--set", "retention.measure=false",
        "--learning-rate", "0.003", *flags,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return folder / name


@pytest.fixture(scope="module")
def recorded(folder: Path) -> Path:
    """A run with signals."""
    return train(folder, "recorded")


def events_of(run: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run / "events.jsonl") if event["type"] == kind]


def test_recording_changes_no_weight(folder: Path, recorded: Path) -> None:
    without = train(folder, "without", "monitor.signals=false", "monitor.autopilot=off")
    one, other = load_file(recorded / "model/model.safetensors"), load_file(without / "model/model.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not events_of(without, "signals") and not events_of(without, "inspection")
    assert not (without / "monitor").exists() and not (without / "diagnosis.json").exists()
    assert all("held_in" not in event for event in events_of(without, "evaluation"))


def test_retention_is_measured_while_training_where_the_blocks_drift_far(
    folder: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.pipeline.doctor.has_drifted", lambda look: True)
    run = train(folder, "drifts", "retention.measure=true")
    measured, evaluations = events_of(run, "retention"), events_of(run, "evaluation")
    # At the looks inside, which are those of the first and second evaluation, and at the end.
    assert [event["step"] for event in measured[:2]] == [event["step"] for event in evaluations[:2]]
    assert len(measured) == 3
    for event in measured:
        assert -1 <= event["rank_agreement"]["value"] <= 1
        assert len(event["cka"]) == 2
    assert measured[0]["cka"] != measured[1]["cka"]
    one, other = load_file(run / "model/model.safetensors"), load_file(recorded / "model/model.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one), "measuring moved a weight"


def test_what_cannot_be_measured_ends_no_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("trimtab.pipeline.doctor.has_drifted", lambda look: True)
    monkeypatch.setattr("trimtab.pipeline.doctor.retention_of", fail)
    run = train(folder, "fails", "retention.measure=true")
    told = [event for event in events_of(run, "action") if event["action"] == "retention_failed"]
    assert [event["reason"] for event in told] == ["RuntimeError: out of memory"] * 2
    assert len(events_of(run, "retention")) == 1


def test_a_run_records_every_signal(recorded: Path) -> None:
    run = recorded
    steps, evaluations = events_of(run, "step"), events_of(run, "evaluation")
    record = RowRecord.load(run / "monitor/rows.npz")
    assert record is not None and record.margin.shape == (3, 84) and record.epochs_seen == 3
    # The mean loss of an epoch's rows, from their probabilities, is that of its steps.
    for epoch in range(3):
        own = [event for event in steps if epoch < event["epoch"] <= epoch + 1]
        mean = sum(event["loss"] * event["weight"] for event in own) / sum(event["weight"] for event in own)
        assert -np.log(record.probability[epoch].astype(np.float64)).mean() == pytest.approx(mean, rel=2e-3)
    right = record.predicted == record.labels
    assert (right == (record.margin > 0)).all()
    signals = events_of(run, "signals")
    assert [event["step"] for event in signals] == [1, 2, 3, 4, 5, 8]
    for signal in signals:
        step = steps[signal["step"] - 1]
        norms = [block["grad_norm"] for block in signal["blocks"].values()]
        assert np.sqrt(np.square(norms).sum()) == pytest.approx(step["grad_norm"], rel=1e-3)
        assert signal["noise"]["rows"] == step["weight"] and signal["noise"]["variance"] > 0
    assert [event["step"] for event in events_of(run, "inspection")] == [evaluations[0]["step"], evaluations[1]["step"]]
    for evaluation in evaluations:
        assert evaluation["held_in"]["rows"] == 64 and evaluation["detail"]["rows"] == 18
        assert sum(evaluation["detail"]["predicted"]) == 18
    assert json.loads((run / "diagnosis.json").read_text())["examined"]


class Regression(nn.Module):
    """A body and a linear head, small enough for plain arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(4, 5)
        self.classifier = nn.Linear(5, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(torch.tanh(self.body(inputs)))
        return logits


def test_norms_updates_and_noise_equal_plain_arithmetic() -> None:
    model = Regression()
    names = {"body": ("body.weight", "body.bias"), "head": ("classifier.weight", "classifier.bias")}
    blocks = Blocks(
        (
            Block("embeddings", "embeddings", (), ()),
            Block("block 0", "block", ("body",), names["body"]),
            Block("head", "head", ("classifier",), names["head"]),
        ),
        "test",
        inferred=False,
    )
    told: list[dict[str, Any]] = []
    signals = DepthSignals(model, blocks, 3, 100, lambda **fields: told.append(fields))
    inputs, labels = torch.randn(9, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    nn.functional.cross_entropy(model(inputs), labels).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    signals.after_backward(1)
    signals.before_update(1)
    optimizer.step()
    signals.after_update(1)
    (fields,) = told
    for block, members in (("block 0", names["body"]), ("head", names["head"])):
        grad = float(torch.cat([gradients[name].reshape(-1) for name in members]).norm())
        size = float(torch.cat([before[name].reshape(-1) for name in members]).norm())
        found = fields["blocks"][block]
        assert found["grad_norm"] == pytest.approx(grad, rel=1e-4)
        assert found["weight_norm"] == pytest.approx(size, rel=1e-4)
        assert found["update_ratio"] == pytest.approx(0.1 * grad / size, rel=1e-3)
    assert "embeddings" not in fields["blocks"]
    rows = []
    for row in range(9):
        fresh = Regression()
        fresh.load_state_dict(before)
        nn.functional.cross_entropy(fresh(inputs[row : row + 1]), labels[row : row + 1]).backward()
        assert fresh.classifier.weight.grad is not None
        rows.append(fresh.classifier.weight.grad.reshape(-1))
    own = torch.stack(rows)
    variance = float(own.var(dim=0, unbiased=True).sum())
    # The loss was a mean of 9 rows, so that each gradient was seen divided by 9.
    assert fields["noise"]["variance"] * 81 == pytest.approx(variance, rel=1e-3)
    assert fields["noise"]["squared_norm"] * 81 == pytest.approx(
        float(own.mean(dim=0).square().sum()) - variance / 9, rel=1e-3, abs=1e-6
    )


def test_unsampled_steps_cost_nothing_and_tell_nothing() -> None:
    told: list[dict[str, Any]] = []
    model = Regression()
    blocks = Blocks((Block("head", "head", ("classifier",), ("classifier.weight",)),), "test", inferred=False)
    signals = DepthSignals(model, blocks, 3, 1000, lambda **fields: told.append(fields))
    assert [step for step in range(1, 61) if signals.is_sampled(step)] == [1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 60]
    assert [step for step in range(1, 61) if signals.looks_at_blocks(step)] == [1, 2, 3, 4, 5, 20, 40, 60]
    model(torch.randn(2, 4)).sum().backward()
    signals.after_backward(7)
    signals.before_update(7)
    signals.after_update(7)
    assert not told


def test_noise_is_measured_on_steps_whose_blocks_are_not_looked_at() -> None:
    told: list[dict[str, Any]] = []
    model = Regression()
    blocks = Blocks((Block("head", "head", ("classifier",), ("classifier.weight",)),), "test", inferred=False)
    signals = DepthSignals(model, blocks, 3, 100, lambda **fields: told.append(fields))
    for step in range(1, 13):
        nn.functional.cross_entropy(model(torch.randn(8, 4)), torch.arange(8) % 3).backward()
        signals.after_backward(step)
        signals.before_update(step)
        signals.after_update(step)
    assert [fields["noise"]["rows"] for fields in told] == [8] * 7  # steps 1 to 5, 8 and 12
    assert ["blocks" in fields for fields in told] == [True] * 6 + [False]


def test_margins_of_rows() -> None:
    logits = torch.tensor([[2.0, 1.0, -1.0], [0.0, 3.0, 1.0]])
    margin, probability = margins(logits, torch.tensor([0, 2]))
    assert margin.tolist() == [1.0, -2.0]
    assert torch.allclose(probability, logits.softmax(dim=1)[[0, 1], [0, 2]])


def test_entropy_of_attention() -> None:
    uniform = torch.full((1, 2, 4, 4), 0.25)
    assert _relative_entropy(uniform, torch.ones(1, 4)) == pytest.approx(1.0)
    single = torch.eye(4).expand(1, 2, 4, 4)
    assert _relative_entropy(single, torch.ones(1, 4)) == pytest.approx(0.0)
    padded = torch.zeros(1, 1, 4, 4)
    padded[..., :2] = 0.5
    assert _relative_entropy(padded, torch.tensor([[1, 1, 0, 0]])) == pytest.approx(1.0)


def test_detail_of_an_evaluation() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]], np.float32)
    labels = np.array([0, 1, 1, 0])
    detail = describe_scores(labels, Scores.of(probabilities, labels))
    losses = -np.log([0.9, 0.3, 0.7, 0.5])
    assert detail["recall"] == [1.0, 0.5, None] and detail["predicted"] == [3, 1, 0]
    assert detail["label_rows"] == [2, 2, 0]
    assert detail["loss_error"] == pytest.approx(losses.std() / 2, rel=1e-4)
    assert detail["error_confidence"] == pytest.approx(0.6) and detail["confidence"] == pytest.approx(0.675)
    assert detail["predicted_entropy"] == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(2))
    empty = np.zeros((0, 3), np.float32)
    assert describe_scores(labels[:0], Scores.of(empty, labels[:0])) == {"rows": 0}


def test_a_damaged_record_of_rows_is_none(tmp_path: Path) -> None:
    record = RowRecord.empty(2, np.array([0, 1, 1]))
    record.save(tmp_path / "rows.npz")
    loaded = RowRecord.load(tmp_path / "rows.npz")
    assert loaded is not None and loaded.epochs_seen == 0 and np.isnan(loaded.margin).all()
    (tmp_path / "rows.npz").write_bytes((tmp_path / "rows.npz").read_bytes()[:100])
    assert RowRecord.load(tmp_path / "rows.npz") is None
    assert RowRecord.load(tmp_path / "absent.npz") is None


def test_a_batch_keeps_its_rows_on_every_device() -> None:
    batch = Batch({"x": torch.zeros(2)}, None, 2, 2, rows=np.array([4, 7]))
    moved = batch.to("cpu")
    assert moved.rows is not None and moved.rows.tolist() == [4, 7]


def test_left_out_scores_equal_those_of_fits_without_the_row() -> None:
    draw = np.random.default_rng(0)
    features = draw.standard_normal((30, 4))
    labels = (features[:, 0] + 0.3 * draw.standard_normal(30) > 0).astype(np.int64)
    scores = leave_one_out(features, labels, 2)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0) / 2
    design, wanted = np.column_stack([scaled, np.ones(30)]), np.eye(2)[labels]
    fits = []
    for penalty in 10.0 ** np.arange(-3.0, 3.0):
        others = []
        for row in range(30):
            kept = np.arange(30) != row
            gram = design[kept].T @ design[kept] + penalty * np.eye(5)
            others.append(design[row] @ np.linalg.solve(gram, design[kept].T @ wanted[kept]))
        fits.append((float(((np.array(others) - wanted) ** 2).mean()), np.array(others)))
    assert scores == pytest.approx(min(fits, key=lambda fit: fit[0])[1], abs=1e-9)


def test_a_wrong_label_goes_against_the_view_from_outside() -> None:
    draw = np.random.default_rng(1)
    true = np.arange(120) % 3
    features = np.eye(3)[true] @ draw.standard_normal((3, 8)) * 3 + draw.standard_normal((120, 8))
    labels, wrong = true.copy(), np.arange(3, 120, 20)
    labels[wrong] = (true[wrong] + 1) % 3
    margin, sure, choice = outside_view(features, labels, 3)
    assert set(np.argsort(margin)[: len(wrong)]) == set(wrong)
    assert (choice[wrong] == true[wrong]).all() and (sure >= 0).all()


def test_the_record_of_rows_survives_a_resume(folder: Path, recorded: Path) -> None:
    """The rows of a checkpoint are those that were met before it; the view from outside is the whole run's."""
    whole = RowRecord.load(recorded / "monitor/rows.npz")
    run = train(folder, "cut")
    before = RowRecord.load(run / "monitor/rows.npz")
    assert whole is not None and before is not None
    assert np.array_equal(whole.margin, before.margin) and np.array_equal(whole.outside, before.outside, equal_nan=True)
    (run / "evaluation.json").unlink()
    (run / "monitor/rows.npz").unlink()
    for checkpoint in sorted((run / "checkpoints").iterdir())[1:]:
        shutil.rmtree(checkpoint)
    outcome = trimtab("resume", str(run))
    assert outcome.code == 0, outcome.err
    after = RowRecord.load(run / "monitor/rows.npz")
    assert after is not None and np.isfinite(after.outside[0]).all()
    for name in ("margin", "probability", "predicted", "outside"):
        assert np.array_equal(getattr(after, name), getattr(whole, name)), name
