"""`trimtab predict` and `evaluate` on files of many rows: part by part, in order, in either precision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from command import trimtab

from trimtab import api
from trimtab.data import streaming
from trimtab.pipeline import scoring, trained
from trimtab.training import faithful

ROWS = 400


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    folder = tmp_path_factory.mktemp("large")
    tiny.save_bert(folder / "bert")
    frame = pd.DataFrame(tiny.labelled_texts(60), columns=["text", "label"])
    settings = {"training.device": "cpu", "optimizer.learning_rate": 0.01, "evaluation.bootstrap_samples": 100}
    return api.train(frame, model=str(folder / "bert"), output=folder / "run", epochs=1, settings=settings)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "many.jsonl"
    texts = [text for text, _ in tiny.labelled_texts(ROWS, seed=4)]
    texts[7] = " "
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture
def _in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "WHOLE_BYTES", 0)
    monkeypatch.setitem(scoring.CHUNK_ROWS, "text", 60)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_parts_give_the_table_of_the_whole(
    run: api.Run, source: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    whole, parts = source.with_name(f"whole.{suffix}"), source.with_name(f"parts.{suffix}")
    fp32 = ("--precision", "fp32")
    first = trimtab("predict", run.path, "--file", source, "--to", whole, *fp32)
    monkeypatch.setattr(streaming, "WHOLE_BYTES", 0)
    monkeypatch.setitem(scoring.CHUNK_ROWS, "text", 60)
    second = trimtab("predict", run.path, "--file", source, "--to", parts, *fp32)
    assert first.code == second.code == 0
    assert "many.jsonl: 1 of 400 rows dropped: empty text (row 8)" in second.err
    assert f"Wrote 399 predictions to {parts}" in second.err
    read = pd.read_csv if suffix == "csv" else pd.read_parquet
    pd.testing.assert_frame_equal(read(parts), read(whole), atol=1e-5)


@pytest.mark.usefixtures("_in_parts")
def test_an_interrupt_leaves_what_is_complete(run: api.Run, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trimtab.training.inference import Predictor

    calls: list[int] = []
    original = Predictor.predict

    def predict(self: Predictor, examples: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self, examples)

    monkeypatch.setattr(Predictor, "predict", predict)
    target = source.with_name("out.jsonl")
    outcome = trimtab("predict", run.path, "--file", source, "--to", target)
    assert outcome.code == 130
    assert not target.exists()
    partial = pd.read_json(source.with_name("out.partial.jsonl"), lines=True)
    # The eighth row is empty.
    assert partial["row"].tolist() == [row for row in range(1, 181) if row != 8]
    assert "the 179 predictions that are complete" in outcome.err


@pytest.mark.usefixtures("_in_parts")
def test_bf16_keeps_the_labels_and_is_told(run: api.Run, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scoring.CHUNK_ROWS, "text", 300)
    monkeypatch.setattr(faithful, "computes_bf16", lambda device: True)
    monkeypatch.setattr(faithful, "MOST_NEAR_TIES", 1.0)
    found = trimtab("predict", run.path, "--file", source, "--json").json
    exact = trimtab("predict", run.path, "--file", source, "--json", "--precision", "fp32").json
    assert [row["prediction"] for row in found["predictions"]] == [row["prediction"] for row in exact["predictions"]]
    assert exact["precision"] == "fp32"
    assert found["precision"] in ("fp32", "bf16")
    rough = trimtab("predict", run.path, "--file", source, "--json", "--precision", "bf16").json
    assert rough["precision"] == "bf16"
    ours = np.array([row["probability"] for row in rough["predictions"]])
    assert np.abs(ours - [row["probability"] for row in exact["predictions"]]).max() < 0.05


def test_evaluation_names_its_precision(run: api.Run, tmp_path: Path) -> None:
    data = tiny.write_csv(tmp_path / "more.csv", 30, seed=7)
    assert trimtab("evaluate", run.path, data, "--json").json["precision"] == "fp32"
    assert trimtab("evaluate", run.path, data, "--json", "--precision", "bf16").json["precision"] == "bf16"
    assert run.evaluation.precision == "fp32"
    assert json.loads((run.path / "evaluation.json").read_text())["precision"] == "fp32"


def test_no_lines_make_an_empty_table(run: api.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert trimtab("predict", run.path, "--file", "-", "--to", tmp_path / "none.csv").code == 0
    assert (tmp_path / "none.csv").read_text().startswith("text,prediction,probability,p_billing")


def test_all_probabilities_are_given_whatever_the_limit(run: api.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"text": ["refund please"] * 3})
    model = trained.TrainedModel(run.path / "model")
    assert model.probabilities(frame).shape == (3, 3)
    (scored,) = model.scorer.score([frame], keep_bytes=0)
    assert scored.scores.probabilities is None and len(scored.scores) == 3
