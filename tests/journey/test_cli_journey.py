"""From data to a model with the command line, on tiny models: what is written, what is said, what can be done next."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import yaml
from command import QUICK, Outcome, files_below, trimtab

from trimtab.cli.main import COMMANDS

TEXTS = ["the router is broken", "refund please", "thanks thanks thanks"]

RUN_FILES = [
    *(
        "checkpoints",
        "data",
        "diagnosis.json",
        "environment.json",
        "evaluation.json",
        "events.jsonl",
        "heartbeat.json",
        "model",
        "predictions.parquet",
    ),
    *("monitor", "monitor/rows.npz", "recipe.yaml", "report.html", "report.md", "retention.json", "strategy.json"),
    *("data/dataset.json", "data/test.parquet", "data/train.parquet", "data/validation.parquet"),
    *("model/README.md", "model/config.json", "model/model.safetensors", "model/tokenizer.json"),
    *("model/tokenizer_config.json", "model/trimtab.json", "model/trimtab_checksums.json"),
]
CHECKPOINT_FILES = [
    "hooks.safetensors",
    "manifest.json",
    "model.safetensors",
    "optimizer.safetensors",
    "progress.json",
    "random.safetensors",
]


class Place:
    """A folder with data, a model, and one finished run of two epochs that was made with relative paths."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "runs" / "tickets"
        self.outcome = Outcome(-1, "", "")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("journey"))
    tiny.save_bert(place.folder / "bert")
    tiny.write_csv(place.folder / "tickets.csv", 120)
    tiny.write_csv(place.folder / "more.csv", 40, seed=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.folder)
        place.outcome = trimtab(
            *("train", "tickets.csv", "--model", "bert", "--output", "runs/tickets", "--epochs", "2"),
            *("--batch-size", "16", "--learning-rate", "1e-2", "--set", "evaluation.bootstrap_samples=200"),
        )
    return place


@pytest.fixture
def place(finished: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The same, as working directory."""
    monkeypatch.chdir(finished.folder)
    return finished


def test_training_writes_the_run_directory_and_nothing_else(place: Place) -> None:
    assert place.outcome.code == 0
    found = files_below(place.run)
    kept = [name for name in found if name.count("/") < 2]
    steps = sorted(path.name for path in (place.run / "checkpoints").iterdir())
    assert [name for name in kept if not name.startswith("checkpoints/")] == sorted(RUN_FILES)
    assert steps[-1] == "step-00000012" and len(steps) <= 3
    for step in steps:
        assert files_below(place.run / "checkpoints" / step) == CHECKPOINT_FILES


def test_what_is_said_on_the_way(place: Place) -> None:
    told = place.outcome.err
    for words in [
        "text: column 'text' (by its name; override with --text NAME)",
        "label: column 'label' (by its name, 3 classes; override with --label NAME)",
        "task: text-classification",
        "validation: 18 rows held out of the 120 training rows (stratified, seed 0; override with --validation FILE)",
        "rows: 84 train, 18 validation, 18 test; 3 labels",
        "Pre-flight",
        "run directory runs/tickets",
    ]:
        assert words in told
    shown = place.outcome.out
    assert "18 test rows, 95% intervals" in shown
    for column in ["fine-tuned", "majority class", "TF-IDF + logistic regression"]:
        assert column in shown
    assert "the best baseline" in shown and "of macro_f1 (95 % interval" in shown
    assert "trimtab predict runs/tickets" in shown


def test_warnings_of_leaked_rows_come_before_training(place: Place) -> None:
    rows = tiny.labelled_texts(60, seed=3)
    folder = place.folder / "leaky"
    folder.mkdir()
    for name, part in {"train": rows, "validation": rows[:20], "test": tiny.labelled_texts(20, seed=4)}.items():
        pd.DataFrame(part, columns=["text", "label"]).to_csv(folder / f"{name}.csv", index=False)
    outcome = trimtab("train", "leaky", "--model", "bert", "--output", "runs/leaky", *QUICK)
    assert outcome.code == 0
    warning = outcome.err.index("20 of 20 (100 %) validation rows stand in train too")
    assert warning < outcome.err.index("Training 6,1")


def test_events_have_type_time_and_step(place: Place) -> None:
    events = [json.loads(line) for line in (place.run / "events.jsonl").read_text().splitlines()]
    for event in events:
        assert isinstance(event["type"], str)
        assert isinstance(event["time"], float) and event["time"] > 1.6e9
        assert isinstance(event["step"], int)
    kinds = [event["type"] for event in events]
    assert kinds[0] == "start" and kinds[-1] == "end"
    assert kinds.count("evaluation") == 2
    assert [event["step"] for event in events if event["type"] == "step"] == list(range(1, 13))


def test_recipe_tells_values_and_origins(place: Place) -> None:
    text = (place.run / "recipe.yaml").read_text()
    recipe = yaml.safe_load(text)
    assert recipe["origins"] == {
        "output": "flag",
        "data.path": "flag",
        "model.name": "flag",
        "task": "inferred",
        "optimizer.learning_rate": "flag",
        "training.num_epochs": "flag",
        "training.batch_size": "flag",
        "training.max_tokens_per_batch": "inferred",
        "training.precision": "inferred",
        "training.compile": "inferred",
        "model.attention": "inferred",
        "training.device": "inferred",
        "evaluation.metric": "inferred",
        "monitor.sample_rows": "inferred",
        "evaluation.bootstrap_samples": "flag",
    }
    assert recipe["training"]["num_epochs"] == 2
    assert "auto" not in json.dumps({key: recipe[key] for key in ("training", "optimizer", "evaluation")})
    assert recipe["data"]["path"] == str(place.folder / "tickets.csv")
    assert recipe["model"]["name"] == str(place.folder / "bert")
    line = next(line for line in text.splitlines() if "max_tokens_per_batch:" in line)
    assert "# inferred: for " in line


def test_environment_tells_what_the_run_was_made_with(place: Place) -> None:
    found = json.loads((place.run / "environment.json").read_text())
    assert found["run"] == {
        "model": "bert",
        "data": "tickets.csv",
        "task": "text-classification",
        "strategy": "full",
    }
    assert found["seed"] == 0
    assert {"torch", "transformers", "numpy", "trimtab"} <= found["packages"].keys()
    assert {"cores", "memory_gib", "accelerators"} <= found["hardware"].keys()
    assert found["data"]["rows"] == {"train": 84, "validation": 18, "test": 18}
    assert all(len(digest) == 64 for digest in found["data"]["fingerprint"].values())
    assert "git" in found and found["python"].count(".") == 2


def test_predicting_texts(place: Place) -> None:
    outcome = trimtab("predict", "runs/tickets", *TEXTS)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["input", "prediction", "probability"]
    assert [line.split("  ")[0].strip() for line in lines[2:5]] == TEXTS
    told = trimtab("predict", "runs/tickets", *TEXTS, "--json").json
    assert told["labels"] == ["billing", "network", "other"]
    for item in told["predictions"]:
        assert sum(item["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert item["probability"] == max(item["probabilities"].values())


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_predicting_a_file_to_a_file(place: Place, tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / f"out.{suffix}"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in [TEXTS[0], " ", *TEXTS[1:]]))
    outcome = trimtab("predict", "runs/tickets", "--file", source, "--to", target)
    assert (outcome.code, outcome.out) == (0, "")
    assert "in.jsonl: 1 of 4 rows dropped: empty text (row 2)" in outcome.err
    if suffix in ("csv", "tsv"):
        table = pd.read_csv(target, sep="\t" if suffix == "tsv" else ",")
    else:
        table = pd.read_parquet(target) if suffix == "parquet" else pd.read_json(target, lines=True)
    assert list(table.columns) == ["row", "source", "text", "prediction", "probability"] + [
        f"p_{label}" for label in ("billing", "network", "other")
    ]
    assert table["row"].tolist() == [1, 3, 4]
    expected = trimtab("predict", "runs/tickets", *TEXTS, "--json").json["predictions"]
    assert table["prediction"].tolist() == [item["prediction"] for item in expected]
    assert table["probability"].tolist() == pytest.approx([item["probability"] for item in expected], abs=1e-5)


def test_predicting_lines_of_standard_input(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("the router is broken\r\n\nrefund please\n"))
    told = trimtab("predict", "runs/tickets", "--file", "-", "--json").json
    assert [item["text"] for item in told["predictions"]] == TEXTS[:2]


def test_what_predict_refuses(place: Place, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "no_text.csv").write_text("a,b\n1,2\n")
    before = files_below(tmp_path)
    for arguments, words in [
        ([], "Give texts, or a file with --file"),
        (["a", "--file", "tickets.csv"], "and not both"),
        (["ok", ""], "Input 2 of 2 is an empty text"),
        (["a", "--to", tmp_path / "there.csv"], "exists already"),
        (["a", "--to", tmp_path / "folder.csv"], "folder.csv"),
        (["a", "--to", tmp_path / "folder.csv", "--overwrite"], "folder"),
        (["a", "--to", tmp_path / "x.xlsx"], ".csv, .tsv, .jsonl, .parquet"),
        (["a", "--to", tmp_path / "none" / "x.csv"], "none"),
        (["--file", tmp_path / "none.csv"], "There is no file or folder 'none.csv'"),
        (["--file", tmp_path / "no_text.csv"], "no column 'text'"),
    ]:
        outcome = trimtab("predict", "runs/tickets", *arguments)
        assert outcome.code == 2, arguments
        assert words in outcome.error
        assert files_below(tmp_path) == before
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert trimtab("predict", "runs/tickets", "a", "--to", tmp_path / "there.csv", "--overwrite").code == 0
    assert (tmp_path / "there.csv").read_text().startswith("text,prediction")


def test_evaluating(place: Place) -> None:
    outcome = trimtab("evaluate", "runs/tickets", "more.csv")
    assert outcome.code == 0
    assert "40 given rows" in outcome.out and "majority class" in outcome.out
    told = trimtab("evaluate", "runs/tickets", "more.csv", "--json", "--set", "evaluation.bootstrap_samples=100").json
    assert told["rows"] == 40 and told["primary_metric"] == "macro_f1"
    assert 0 <= told["metrics"]["accuracy"]["low"] <= told["metrics"]["accuracy"]["value"]
    met = trimtab("evaluate", "runs/tickets", "more.csv", "--target", "accuracy=0.01", "--json")
    assert (met.code, met.json["target"]["reached"]) == (0, True)
    missed = trimtab("evaluate", "runs/tickets", "more.csv", "--target", "log_loss=0.0001", "--json")
    assert (missed.code, missed.json["target"]["reached"]) == (3, False)


def test_what_evaluate_refuses(place: Place, tmp_path: Path) -> None:
    (tmp_path / "alien.csv").write_text("text,label\nthe router,network\nrefund,alien\n")
    (tmp_path / "bare.csv").write_text("text\nthe router\n")
    for arguments, words in [
        ([tmp_path / "alien.csv"], "the label 'alien' of 1 row (row 2) never occurs in the model's training data"),
        ([tmp_path / "bare.csv"], "has no column 'label'"),
        (["more.csv", "--target", "f1=0.9"], "no metric is called 'f1'"),
    ]:
        outcome = trimtab("evaluate", "runs/tickets", *arguments)
        assert outcome.code == 2
        assert words in outcome.error


def test_commands_on_what_is_no_run(place: Place, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    shutil.copy(place.run / "recipe.yaml", tmp_path / "half" / "recipe.yaml")
    before = files_below(tmp_path)
    for command, words in [
        (("predict", tmp_path / "none", "x"), "There is no run at"),
        (("predict", tmp_path, "x"), "neither a run directory nor a model"),
        (("predict", tmp_path / "half", "x"), "has no model yet: it is not finished"),
        (("evaluate", tmp_path / "none", "more.csv"), "There is no run at"),
        (("resume", tmp_path / "none"), "No run directory at"),
        (("resume", tmp_path), "is not a run directory: it has no recipe.yaml"),
        (("resume", tmp_path / "half"), "The prepared data of"),
        (("resume", "runs/tickets"), "The run runs/tickets is finished."),
        (("runs", tmp_path / "none"), "No folder"),
    ]:
        outcome = trimtab(*command)
        assert outcome.code == 2, command
        assert words in outcome.error
    assert files_below(tmp_path) == before


def test_check_reports_without_training(place: Place) -> None:
    before = files_below(place.folder)
    outcome = trimtab("check", "tickets.csv", "--model", "bert")
    assert (outcome.code, outcome.err) == (0, "")
    assert "label: column 'label'" in outcome.out
    told = trimtab("check", "tickets.csv", "--model", "bert", "--json").json
    assert told["rows"] == {"train": 84, "validation": 18, "test": 18}
    assert told["tokens"]["max_length"] == 32 and told["tokens"]["unknown_share"] == 0
    assert files_below(place.folder) == before


def test_runs_lists_the_run(place: Place) -> None:
    assert "runs/tickets" in trimtab("runs").out
    found = {run["run"]: run for run in trimtab("runs", "--json").json["runs"]}["runs/tickets"]
    assert (found["state"], found["step"], found["model"], found["data"]) == ("finished", 12, "bert", "tickets.csv")


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def test_the_recipe_of_a_run_gives_the_same_weights_from_anywhere(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = trimtab("train", place.run / "recipe.yaml")
    assert refused.code == 2 and "exists already" in refused.error
    assert files_below(tmp_path) == []
    outcome = trimtab("train", place.run / "recipe.yaml", "--output", "again", "--json")
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.json["run"] == "again"
    assert weights(tmp_path / "again") == weights(place.run)
    origins = yaml.safe_load((tmp_path / "again" / "recipe.yaml").read_text())["origins"]
    assert origins["training.num_epochs"] == "flag" and origins["task"] == "inferred"


def test_resuming_from_another_working_directory(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Path(shutil.copytree(place.run, tmp_path / "run"))
    for name in ("evaluation.json", "predictions.parquet", "report.html", "report.md"):
        (run / name).unlink()
    shutil.rmtree(run / "model")
    shutil.rmtree(run / "checkpoints" / "step-00000012")
    monkeypatch.chdir(tmp_path)
    outcome = trimtab("resume", "run", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["run"] == "run"
    assert weights(run) == weights(place.run)


def test_recipe_files_and_settings(place: Place, tmp_path: Path) -> None:
    assert trimtab("recipe", "--output", tmp_path / "r.yaml").code == 0
    text = (tmp_path / "r.yaml").read_text()
    text = text.replace("path: null", "path: tickets.csv").replace("name: starter", "name: bert")
    (tmp_path / "mine.yaml").write_text(text)
    outcome = trimtab("train", tmp_path / "mine.yaml", "--output", tmp_path / "one", *QUICK, "--json")
    assert outcome.code == 0, outcome.err
    options = ("--recipe", tmp_path / "r.yaml", "--model", "bert", "--set", "optimizer.learning_rate=3e-5")
    outcome = trimtab("train", "tickets.csv", *options, "--output", tmp_path / "two", *QUICK, "--json")
    assert outcome.code == 0, outcome.err
    recipe = yaml.safe_load((tmp_path / "two" / "recipe.yaml").read_text())
    assert recipe["optimizer"]["learning_rate"] == 3e-5
    assert recipe["origins"]["optimizer.learning_rate"] == "flag"
    started = next(json.loads(line) for line in (tmp_path / "two" / "events.jsonl").read_text().splitlines())
    assert started["learning_rate"] == 3e-5


@pytest.mark.parametrize(("goal", "code"), [("accuracy=0.01", 0), ("accuracy=1.0", 3)])
def test_exit_code_of_a_target(place: Place, tmp_path: Path, goal: str, code: int) -> None:
    outcome = trimtab("train", "tickets.csv", "--model", "bert", "--output", tmp_path / "r", "--target", goal, *QUICK)
    assert outcome.code == code
    assert f"Target {goal.replace('1.0', '1')} {'missed' if code else 'reached'}" in outcome.out


def test_names_of_runs_without_output(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [
        trimtab("train", place.folder / "tickets.csv", "--model", place.folder / "bert", *QUICK, "--json").json["run"]
        for _ in range(2)
    ]
    assert names == ["runs/tickets-bert-1", "runs/tickets-bert-2"]


WITHOUT_TRIMTAB = """
import json, sys
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
folder, texts = sys.argv[1], sys.argv[2:]
model = AutoModelForSequenceClassification.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
logits = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits
named = [model.config.id2label[int(index)] for index in logits.argmax(dim=-1)]
piped = pipeline("text-classification", model=folder)(texts)
assert not any(name.split(".")[0] == "trimtab" for name in sys.modules)
print(json.dumps([named, [item["label"] for item in piped], [item["score"] for item in piped]]))
"""


def test_the_model_works_without_trimtab(place: Place) -> None:
    ours = trimtab("predict", "runs/tickets", *TEXTS, "--json").json["predictions"]
    command = [sys.executable, "-c", WITHOUT_TRIMTAB, str(place.run / "model"), *TEXTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    named, piped, scores = json.loads(done.stdout.splitlines()[-1])
    assert named == piped == [item["prediction"] for item in ours]
    assert scores == pytest.approx([item["probability"] for item in ours], abs=1e-5)


JSON_COMMANDS: dict[str, list[Any]] = {
    "train": ["tickets.csv", "--model", "bert", "--output", "{tmp}/r", *QUICK],
    "evaluate": ["runs/tickets", "more.csv"],
    "predict": ["runs/tickets", "refund"],
    "check": ["tickets.csv", "--model", "bert"],
    "recipe": [],
    "runs": [],
    "resume": ["runs/tickets"],
    "lr-find": ["tickets.csv", "--model", "bert", "--output", "{tmp}/lr"],
    "augment": ["tickets.csv", "--model", "bert", "--set", "augmentation.word_dropout=0.3"],
    "cache": ["--folder", "{tmp}/cache"],
    "diagnose": ["runs/tickets"],
    "compare": ["runs/tickets", "runs/tickets"],
    "control": ["runs/tickets", "pause"],
}
REFUSED = {"resume", "compare", "control"}
"""Those that a finished run, or the same run twice, is refused to."""


# The dashboard goes on until it is ended; its object is read where the page is tested.
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"dashboard"}))
def test_json_is_one_object_alone_on_stdout(place: Place, tmp_path: Path, name: str) -> None:
    arguments = [str(argument).replace("{tmp}", str(tmp_path)) for argument in JSON_COMMANDS[name]]
    outcome = trimtab(name, *arguments, "--json")
    assert isinstance(outcome.json, dict)
    assert outcome.code == (2 if name in REFUSED else 0)
    failed = trimtab(name, *arguments, "--json", "--nonsense")
    assert (failed.code, failed.err) == (2, "")
    assert set(failed.json) == {"error"}
    assert set(failed.json["error"]) == {"type", "message", "problems", "remedy"}


def test_help_of_train_is_that_of_the_recipe() -> None:
    from trimtab.config.fields import fields

    told = " ".join(trimtab("train", "--help").out.split())
    flagged = [field for field in fields(plugins=False) if field.flag]
    assert len(flagged) > 15
    for field in flagged:
        assert f"{field.flag} " in told or f"{field.flag}/" in told
        assert " ".join(field.description.split()) in told


def test_the_installed_command_answers_in_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trimtab.cli.main", "train", "none.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()[-2:]
    assert first == "error: There is no file or folder 'none.csv' in the working directory."
    assert second == "Check the path."
    assert files_below(tmp_path) == []
