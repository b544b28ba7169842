from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

import trimtab.pipeline.preflight as preflight
from trimtab.config.load import build_recipe
from trimtab.core.errors import InterruptedRun, ModelError, RecipeError, RunError
from trimtab.core.runs import RunDirectory
from trimtab.data.loading import load_dataset
from trimtab.pipeline.check import check
from trimtab.pipeline.describe import describe_rows
from trimtab.pipeline.parts import Parts, build_parts, lay_groundwork
from trimtab.pipeline.preflight import rehearse
from trimtab.pipeline.resolve import anchor_paths, choose_device, hidden_size
from trimtab.pipeline.store import check_disk, check_place, read_dataset, save_dataset
from trimtab.pipeline.train import resume, train


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_bert(tmp_path_factory.mktemp("models") / "bert")


def make_parts(bert: Path, rows: int = 60, **settings: Any) -> Parts:
    resolved = build_recipe(overrides={"model.name": str(bert), "training.device": "cpu", **settings})
    frame = pd.DataFrame(tiny.labelled_texts(rows), columns=["text", "label"])
    recipe = resolved.recipe
    return build_parts(resolved, lay_groundwork(recipe, load_dataset(frame, recipe.data, seed=recipe.seed)))


def test_no_value_stays_auto(bert: Path) -> None:
    parts = make_parts(bert)
    values = parts.resolved.values()
    assert [key for key, value in values.items() if value == "auto"] == ["task.max_length"]
    inferred = {key for key, origin in parts.resolved.origins.items() if origin == "inferred"}
    assert inferred == {
        "task",
        "optimizer.learning_rate",
        "training.num_epochs",
        "training.max_tokens_per_batch",
        "training.precision",
        "training.compile",
        "model.attention",
        "evaluation.metric",
        "monitor.sample_rows",
    }
    assert set(parts.notes) == inferred
    assert values["optimizer.learning_rate"] == 2e-4  # narrow models take larger steps


@pytest.mark.parametrize(("rows", "epochs"), [(60, 20), (700, 10), (4000, 3), (40_000, 3)])
def test_epochs_follow_the_number_of_rows(bert: Path, rows: int, epochs: int) -> None:
    from trimtab.pipeline.resolve import _epochs

    assert _epochs(build_recipe().recipe, int(rows * 0.7))[0] == epochs


def test_hidden_size() -> None:
    assert hidden_size(tiny.bert_config(hidden_size=16)) == 16
    assert hidden_size(object()) == 0


def test_the_head_does_not_depend_on_what_was_drawn_before(bert: Path) -> None:
    first = make_parts(bert).model.state_dict()
    torch.rand(7)
    second = make_parts(bert).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = make_parts(bert, seed=1).model.state_dict()
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_paths_are_anchored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("text,label\n")
    (tmp_path / "model").mkdir()
    given = {"data.path": "t.csv", "data.test": "none.csv", "model.name": "model", "output": "runs/x"}
    anchored = anchor_paths(build_recipe(overrides=given)).recipe
    assert anchored.data.path == str(tmp_path / "t.csv")
    assert anchored.data.test == "none.csv"
    assert anchored.model.name == str(tmp_path / "model")
    assert anchored.output == str(tmp_path / "runs" / "x")
    (tmp_path / "starter").mkdir()
    assert anchor_paths(build_recipe()).recipe.model.name == "starter"
    hub = anchor_paths(build_recipe(overrides={"model.name": "owner/name", "data.path": "glue"}))
    assert (hub.recipe.model.name, hub.recipe.data.path) == ("owner/name", "glue")
    assert hub.origins == build_recipe(overrides={"model.name": "owner/name", "data.path": "glue"}).origins


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(RecipeError, match="this machine has no 'cuda:1'") as caught:
        check(build_recipe(overrides={"training.device": "cuda:1"}), "no_such_file.csv")
    assert "Available: cpu" in caught.value.remedy


def test_a_model_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        check(build_recipe(overrides={"model.name": str(tmp_path / "none")}), "no_such_file.csv")


def test_what_is_saved_of_the_data_reads_back(tmp_path: Path) -> None:
    frame = pd.DataFrame(tiny.labelled_texts(60), columns=["text", "label"])
    dataset = load_dataset(frame, build_recipe().recipe.data, seed=0)
    run = RunDirectory(tmp_path)
    save_dataset(run, dataset)
    again = read_dataset(run)
    assert {name: part.to_dict("list") for name, part in again.splits.items()} == {
        name: part.to_dict("list") for name, part in dataset.splits.items()
    }
    for name in ("columns", "task", "labels", "name", "notes", "held_out", "fingerprint"):
        assert getattr(again, name) == getattr(dataset, name)
    (run.data / "test.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(RunError, match=r"The prepared data of .* cannot be read"):
        read_dataset(run)


def test_room_on_the_disk(tmp_path: Path) -> None:
    check_disk(tmp_path / "none" / "deeper", 1)
    with pytest.raises(
        RunError, match=r"has [\d,]+ MB free; checkpoints and model of this run need about 1,000,000,000"
    ):
        check_disk(tmp_path / "none" / "deeper", 10**15)


def test_a_place_where_nothing_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_place(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="file is a file"):
        check_place(tmp_path / "file" / "run")
    monkeypatch.setattr("os.access", lambda place, mode: False)
    with pytest.raises(RunError, match="nothing may be written in") as caught:
        check_place(tmp_path / "a")
    assert "permission" in caught.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_rehearsal_leaves_everything_as_it_was(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    parts = make_parts(bert, **{"model.dropout": 0.2})
    before = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
    state = torch.get_rng_state()
    told = rehearse(parts)
    assert 0.5 < told["loss"] < 3 and 0 <= told["reload_difference"] < 1e-4
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in parts.model.state_dict().items())
    assert all(parameter.grad is None for parameter in parts.model.parameters())
    assert list(tmp_path.iterdir()) == []


def test_the_rehearsal_finds_a_loss_that_is_no_number(bert: Path) -> None:
    parts = make_parts(bert)
    with torch.no_grad():
        parts.model.get_parameter("classifier.weight").fill_(float("nan"))
    with pytest.raises(ModelError, match="Pre-flight: the loss of the first small batch is nan"):
        rehearse(parts)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), KeyError("x")])
def test_the_rehearsal_names_the_stage_and_leaves_no_files(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    parts = make_parts(bert)

    def broken(*arguments: Any, **fields: Any) -> None:
        raise error

    monkeypatch.setattr(preflight, "read_delivered", broken)
    with pytest.raises(ModelError, match=f"Pre-flight: the stage 'reload' failed with {type(error).__name__}"):
        rehearse(parts)
    assert list(tmp_path.iterdir()) == []


def test_the_rehearsal_finds_a_model_that_does_not_come_back_the_same(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = preflight.read_delivered

    def changed(*arguments: Any, **fields: Any) -> Any:
        loaded = load(*arguments, **fields)
        with torch.no_grad():
            loaded.model.get_parameter("classifier.bias").add_(torch.tensor([1.0, 0.0, 0.0]))
        return loaded

    monkeypatch.setattr(preflight, "read_delivered", changed)
    with pytest.raises(ModelError, match="after saving and reading back, predictions differ by"):
        rehearse(make_parts(bert))


def test_the_rehearsal_without_room_for_temporary_files(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **fields: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preflight, "write_delivered", full)
    with pytest.raises(RunError, match="No space left on device") as caught:
        rehearse(make_parts(bert))
    assert "TMPDIR" in caught.value.remedy


def test_rows_are_named_as_the_user_knows_them(bert: Path) -> None:
    parts = make_parts(bert)
    words = describe_rows(parts, tuple(range(12)))
    frame = parts.ground.dataset.splits["train"]
    assert words.startswith(f"data row {frame['row'][0]}, data row {frame['row'][1]}")
    assert words.endswith(" and 2 more")


def test_options_of_the_strategy_reach_the_plan(bert: Path) -> None:
    parts = make_parts(bert, strategy="partial", **{"strategy.last_blocks": 0})
    trained = {name for name, parameter in parts.model.named_parameters() if parameter.requires_grad}
    assert trained == parts.plan.trained
    assert all(name.startswith(("classifier", "bert.pooler")) for name in trained)


def test_a_batch_longer_than_the_model_reads_is_cut(bert: Path) -> None:
    rows = [(f"{text} {'router ' * 40}", label) for text, label in tiny.labelled_texts(60)]
    frame = pd.DataFrame(rows, columns=["text", "label"])
    resolved = build_recipe(overrides={"model.name": str(bert), "training.device": "cpu"})
    parts = build_parts(resolved, lay_groundwork(resolved.recipe, load_dataset(frame, resolved.recipe.data, seed=0)))
    assert int(np.max(parts.examples["train"].lengths)) == 32


def test_dataset_json_is_readable(tmp_path: Path) -> None:
    frame = pd.DataFrame(tiny.labelled_texts(60), columns=["text", "label"])
    save_dataset(RunDirectory(tmp_path), load_dataset(frame, build_recipe().recipe.data, seed=0))
    fields = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert fields["labels"] == ["billing", "network", "other"]
    assert fields["held_out"] == ["validation", "test"]


def test_a_text_without_tokens_still_gives_one(bert: Path) -> None:
    parts = make_parts(bert)
    task, context = parts.ground.task, parts.ground.context
    examples = task.encode(pd.DataFrame({"text": ["the router", " ", "refund"]}), context)
    assert examples.lengths.tolist() == [2, 1, 1]
    unknown = context.processor.unk_token_id
    assert examples.collate(np.array([1])).inputs["input_ids"].tolist() == [[unknown]]
    assert task.encode(pd.DataFrame({"text": []}, dtype=object), context).lengths.tolist() == []


def test_an_interrupt_at_the_end_names_the_resume_command(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    frame = pd.DataFrame(tiny.labelled_texts(60), columns=["text", "label"])
    settings = {"model.name": str(bert), "output": str(tmp_path / "a run"), "training.num_epochs": 1}
    with monkeypatch.context() as patch:
        patch.setattr("trimtab.pipeline.train.finish", interrupted)
        with pytest.raises(InterruptedRun) as caught:
            train(build_recipe(overrides=settings), frame)
    assert caught.value.exit_code == 130
    assert caught.value.resume_command == f"trimtab resume '{tmp_path / 'a run'}'"
    assert resume(tmp_path / "a run").is_finished


def test_nothing_stays_of_a_run_whose_first_files_cannot_be_written(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **fields: Any) -> None:
        raise RunError("full")

    monkeypatch.setattr("trimtab.pipeline.store.write_json", full)
    frame = pd.DataFrame(tiny.labelled_texts(60), columns=["text", "label"])
    with pytest.raises(RunError, match="full"):
        train(build_recipe(overrides={"model.name": str(bert), "output": str(tmp_path / "run")}), frame)
    assert list(tmp_path.iterdir()) == []


def test_resuming_what_cannot_be_resumed_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("seed: 0\n")
    with pytest.raises(RunError, match=r"The prepared data of .* cannot be read"):
        resume(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
