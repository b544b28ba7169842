"""The Python API from data to predictions, on every kind of data it takes, with tiny models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
from command import files_below, trimtab

import trimtab as api
from trimtab.core.errors import DataError, RecipeError, RunError

QUICK = {"training.num_epochs": 1, "evaluation.bootstrap_samples": 100}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save_bert(tmp_path_factory.mktemp("models") / "bert"))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.DataFrame(tiny.labelled_texts(90), columns=["text", "label"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, bert: str, frame: pd.DataFrame) -> api.Run:
    output = tmp_path_factory.mktemp("runs") / "frame"
    return api.train(frame, model=bert, output=output, epochs=2, seed=3, settings={"evaluation.bootstrap_samples": 200})


def rows_of(run: api.Run) -> dict[str, pd.DataFrame]:
    """The prepared splits of a run."""
    return {path.stem: pd.read_parquet(path) for path in (run.path / "data").glob("*.parquet")}


def test_a_run_and_its_figures(run: api.Run) -> None:
    assert run.labels == ("billing", "network", "other")
    assert set(run.metrics) == {
        *("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "mcc", "log_loss", "ece"),
    }
    assert run.evaluation.metrics["accuracy"].low <= run.metrics["accuracy"] <= run.evaluation.metrics["accuracy"].high
    assert set(run.evaluation.baselines) == {"majority class", "TF-IDF + logistic regression"}
    assert run.verdict == run.evaluation.verdict and "baseline" in run.verdict
    assert [event["type"] for event in run.events].count("evaluation") == 2
    assert json.loads((run.path / "environment.json").read_text())["seed"] == 3
    assert run.model.config.id2label == {0: "billing", 1: "network", 2: "other"}


def test_predicting_one_and_many(run: api.Run) -> None:
    one = run.predict("the router is broken")
    many = run.predict(["refund please", "the router is broken"])
    assert one.label in run.labels
    assert list(one.probabilities) == list(run.labels)
    assert one.probability == max(one.probabilities.values()) == one.probabilities[one.label]
    assert many[1].probabilities == pytest.approx(one.probabilities, abs=1e-5)
    assert run.predict([]) == []
    frame = run.predict(pd.DataFrame({"text": ["the router is broken"], "other": [1]}))
    assert frame[0].probabilities == pytest.approx(one.probabilities, abs=1e-5)
    for wrong, words in [
        (["ok", 3], "found int: 3"),
        ([("a", "b")], "takes texts; found tuple"),
        ([" "], "empty text"),
    ]:
        with pytest.raises(DataError, match=words):
            run.predict(wrong)  # type: ignore[arg-type]


def test_many_predictions_are_those_of_single_ones(run: api.Run) -> None:
    texts = [text for text, _ in tiny.labelled_texts(60, seed=9)]
    together = np.array([list(item.probabilities.values()) for item in run.predict(texts)])
    alone = np.array([list(run.predict(text).probabilities.values()) for text in texts])
    assert np.abs(together - alone).max() < 1e-5


def test_evaluating(run: api.Run, tmp_path: Path) -> None:
    other = pd.DataFrame(tiny.labelled_texts(30, seed=5), columns=["text", "label"])
    result = run.evaluate(other, target="accuracy=0.01")
    assert (result.rows, result.primary_metric) == (30, "macro_f1")
    assert result.target is not None and result.target.reached
    predicted = [item.label for item in run.predict(other["text"].tolist())]
    assert result.metrics["accuracy"].value == pytest.approx(np.mean(np.array(predicted) == other["label"].to_numpy()))
    other.rename(columns={"label": "answer"}).to_csv(tmp_path / "o.csv", index=False)
    renamed = run.evaluate(tmp_path / "o.csv", metric="accuracy", settings={"data.label": "answer"})
    assert renamed.primary == result.metrics["accuracy"]
    with pytest.raises(RecipeError) as caught:
        run.evaluate(other, metric="f1", target="accuracy")
    assert len(caught.value.problems) == 2
    with pytest.raises(DataError, match="the label 'alien'"):
        run.evaluate(pd.DataFrame({"text": ["a", "b"], "label": ["alien", "other"]}))


def test_loading_a_run_and_a_model_directory(run: api.Run) -> None:
    again = api.load(run.path)
    assert again.metrics == run.metrics
    bare = api.load(run.path / "model")
    assert bare.predict("refund").probabilities == run.predict("refund").probabilities
    with pytest.raises(RunError, match="has no evaluation"):
        _ = bare.metrics
    with pytest.raises(RunError, match="There is no run at"):
        api.load(run.path / "none")


def test_resuming_a_run(run: api.Run, bert: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is finished"):
        api.resume(run.path)

    class Stop(Exception):
        pass

    def stop(event: dict[str, Any]) -> None:
        if event["type"] == "checkpoint":
            raise Stop

    with pytest.raises(Stop):
        api.train(frame, model=bert, output=tmp_path / "r", epochs=2, seed=3, on_event=stop)
    with pytest.raises(RunError, match="has no model yet"):
        api.load(tmp_path / "r")
    again = api.resume(tmp_path / "r")
    assert (again.path / "model/model.safetensors").read_bytes() == (run.path / "model/model.safetensors").read_bytes()


def test_check(frame: pd.DataFrame, bert: str) -> None:
    report = api.check(pd.concat([frame, frame.head(3)]), settings={"model.name": bert, "data.test_fraction": 0})
    assert set(report.rows) == {"train", "validation"} and sum(report.rows.values()) == 93
    assert report.refusals == ()
    assert "duplicates" in report.to_dict()


def test_faults_of_arguments_come_all_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        api.train("x.csv", epochs=0, strategy="ful", settings={"optimizer.lr": 1, "evaluation.metric": "f"})
    assert len(caught.value.problems) == 4
    with pytest.raises(DataError, match="No data were named"):
        api.train()
    with pytest.raises(DataError, match="list cannot be used"):
        api.train([("text", "label")])


def test_datasets_objects_and_folders(frame: pd.DataFrame, bert: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_pandas(frame).class_encode_column("label")
    run = api.train(whole, model=bert, output=tmp_path / "a", settings=QUICK)
    assert run.labels == ("billing", "network", "other")
    parts = whole.train_test_split(test_size=0.3, seed=0)
    run = api.train(parts, model=bert, output=tmp_path / "b", settings=QUICK)
    sizes = {name: len(rows) for name, rows in rows_of(run).items()}
    assert sizes["test"] == 27 and sizes["train"] + sizes["validation"] == 63
    parts.save_to_disk(str(tmp_path / "saved"))
    outcome = trimtab(
        "train", tmp_path / "saved", "--model", bert, "--output", tmp_path / "c", "--epochs", "1", "--json"
    )
    assert outcome.code == 0, outcome.out
    assert rows_of(api.load(tmp_path / "c"))["test"].equals(rows_of(run)["test"].assign(source="test"))
    assert api.load(tmp_path / "c").evaluate(tmp_path / "saved").rows == 27


def test_pairs_of_texts(bert: str, tmp_path: Path) -> None:
    rows = [
        (text, other, label) for (text, label), (other, _) in zip(*[iter(tiny.labelled_texts(120))] * 2, strict=True)
    ]
    pairs = pd.DataFrame(rows, columns=["premise", "hypothesis", "label"])
    run = api.train(pairs, model=bert, output=tmp_path / "pairs", settings=QUICK)
    assert run.trained.columns.text == ("premise", "hypothesis")
    straight, turned = run.predict([("the router", "refund please"), ("refund please", "the router")])
    assert straight.probabilities != turned.probabilities
    with pytest.raises(DataError, match="takes pairs of texts; found str"):
        run.predict("only one")
    pairs.head(10).to_csv(tmp_path / "p.csv", index=False)
    told = trimtab("predict", run.path, "--file", tmp_path / "p.csv", "--json").json
    assert told["predictions"][0]["text_pair"] == pairs["hypothesis"][0]
    assert trimtab("predict", run.path, "one text").code == 2
    assert run.evaluate(pairs.head(20)).rows == 20


def test_groups_stay_in_one_split(bert: str, tmp_path: Path) -> None:
    rows = tiny.labelled_texts(150)
    grouped = pd.DataFrame(rows, columns=["text", "label"]).assign(customer=[f"c{index // 5}" for index in range(150)])
    run = api.train(grouped, model=bert, output=tmp_path / "g", settings={**QUICK, "data.group": "customer"})
    splits = rows_of(run)
    owners = {name: set(part["group"]) for name, part in splits.items()}
    assert sum(len(part) for part in splits.values()) == 150
    assert not owners["train"] & owners["validation"]
    assert not owners["train"] & owners["test"]
    assert not owners["validation"] & owners["test"]
    assert run.evaluate(grouped.drop(columns="customer")).rows == 150


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for name, colour in {"red": (210, 30, 30), "blue": (30, 30, 210)}.items():
        (folder / name).mkdir()
        for index in range(20):
            pixels = np.clip(np.array(colour) + draw.integers(-25, 25, (24, 32, 3)), 0, 255)
            image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index:02d}.png")
    return folder


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification, MobileNetV2ImageProcessor

    from trimtab.models.quiet import quiet_transformers

    folder = tmp_path_factory.mktemp("models") / "mobilenet"
    torch.manual_seed(0)
    sizes = {"height": 32, "width": 32}
    with quiet_transformers():
        config = MobileNetV2Config(depth_multiplier=0.1, min_depth=4, depth_divisible_by=4, image_size=32)
        MobileNetV2ForImageClassification(config).save_pretrained(folder)
        MobileNetV2ImageProcessor(size={"shortest_edge": 32}, crop_size=sizes).save_pretrained(folder)
    return folder


def test_a_folder_of_images(photos: Path, mobilenet: Path, tmp_path: Path) -> None:
    output = tmp_path / "photos-run"
    outcome = trimtab("train", photos, "--model", mobilenet, "--output", output, "--epochs", "1", "--json")
    assert outcome.code == 0, outcome.out
    assert "8×8 pixels + logistic regression" in outcome.json["evaluation"]["baselines"]
    model_files = set(files_below(output / "model"))
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "trimtab.json", "README.md"} <= model_files
    run = api.load(output)
    assert run.labels == ("blue", "red")
    paths = [photos / "red" / "00.png", photos / "blue" / "01.png"]
    ours = run.predict(paths)
    told = trimtab("predict", output, *paths, "--json").json["predictions"]
    assert [item["prediction"] for item in told] == [item.label for item in ours]
    table = tmp_path / "out.csv"
    assert trimtab("predict", output, "--file", photos / "red", "--to", table).code == 0
    assert len(pd.read_csv(table)) == 20
    assert run.evaluate(photos).rows == 40
    (tmp_path / "fake.png").write_text("no image")
    refused = trimtab("predict", output, tmp_path / "fake.png")
    assert (refused.code, "fake.png cannot be read" in refused.error) == (2, True)
    code = (
        "import json, sys\nfrom transformers import pipeline\n"
        "told = pipeline('image-classification', model=sys.argv[1])(sys.argv[2:])\n"
        "print(json.dumps([{item['label']: item['score'] for item in items} for items in told]))"
    )
    command = [sys.executable, "-c", code, str(output / "model"), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for item, theirs in zip(ours, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert theirs == pytest.approx(item.probabilities, abs=1e-4)


def test_a_broken_image_is_left_out_and_named(photos: Path, mobilenet: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(photos, tmp_path / "photos"))
    (copy / "red" / "99.png").write_bytes((copy / "red" / "00.png").read_bytes()[:20])
    outcome = trimtab("check", copy, "--model", mobilenet, "--json")
    assert outcome.code == 0
    assert any("1 of 41 rows dropped: broken image file (row 41)" in note for note in outcome.json["notes"])
