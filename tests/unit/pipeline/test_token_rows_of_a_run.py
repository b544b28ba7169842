"""When a run trains only the rows in use; that it ends with the same weights; and that it can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
from torch import nn

from trimtab.config.load import build_recipe
from trimtab.data.loading import load_dataset
from trimtab.models.token_rows import TokenRows, whole_tables
from trimtab.pipeline import token_rows
from trimtab.pipeline.describe import describe_plan
from trimtab.pipeline.judge import judge
from trimtab.pipeline.loop import build_engine
from trimtab.pipeline.parts import Parts, build_parts, lay_groundwork
from trimtab.pipeline.preflight import rehearse
from trimtab.pipeline.token_rows import train_rows_in_use
from trimtab.training.checkpoints import CheckpointStore, random_states, restore
from trimtab.training.engine import Engine
from trimtab.training.optimizers import build_optimizer
from trimtab.training.records import Progress

NAME = "bert.embeddings.word_embeddings.weight"
TABLE = 60
# The words of the training texts, of which `the` is none, and padding.
USED = sorted(tiny.WORDS.index(word) for word in ("[PAD]", *tiny.FILLER) if word != "the")
SETTINGS = {
    "training.device": "cpu",
    "training.precision": "fp32",
    "training.num_epochs": 2,
    "training.batch_size": 8,
    "optimizer.learning_rate": 0.003,
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_bert(tmp_path_factory.mktemp("models") / "bert", vocab_size=TABLE)


@pytest.fixture(autouse=True)
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_rows, "FEWEST_ROWS", TABLE - 1)


def make_parts(bert: Path, **settings: Any) -> Parts:
    overrides = {"model.name": str(bert), **SETTINGS, **{key.replace("__", "."): v for key, v in settings.items()}}
    resolved = build_recipe(overrides=overrides)
    texts = [(text.replace("the", "is"), label) for text, label in tiny.labelled_texts(90)]
    frame = pd.DataFrame(texts, columns=["text", "label"])
    recipe = resolved.recipe
    return build_parts(resolved, lay_groundwork(recipe, load_dataset(frame, recipe.data, seed=recipe.seed)))


def make_engine(parts: Parts) -> Engine:
    optimizer = build_optimizer(parts.model, parts.plan, parts.recipe.optimizer)
    return build_engine(parts, optimizer, Progress(token_budget=8192), lambda action, **fields: None)


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def test_the_rows_of_the_training_texts_and_their_padding(bert: Path) -> None:
    parts = make_parts(bert)
    rehearse(parts)
    before = state_of(parts.model)

    assert train_rows_in_use(parts) == {"tensor": NAME, "rows": len(USED), "of": TABLE}
    assert torch.equal(parts.model.get_parameter(NAME), before[NAME][USED])
    assert train_rows_in_use(parts) is None, "what was done once is not done again"
    assert whole_tables(parts.model) == 1
    after = state_of(parts.model)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("strategy", ["full", "discriminative"])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "schedule_free_adamw"])
def test_the_same_weights_as_with_the_whole_table(bert: Path, optimizer: str, strategy: str) -> None:
    settings: dict[str, Any] = {"optimizer__name": optimizer, "strategy": strategy, "model__dropout": 0.0}
    if optimizer.startswith("schedule_free"):
        pytest.importorskip("schedulefree")
        settings["schedule__name"] = "constant"
    if optimizer != "adam":
        settings["optimizer__weight_decay"] = 0.0
    ends, values = [], []
    for compact in (False, True):
        parts = make_parts(bert, **settings)
        assert not compact or train_rows_in_use(parts)
        losses = [record.loss for record in make_engine(parts).steps()]
        values.append((losses, judge(parts).values["loss"]))
        assert whole_tables(parts.model) == compact
        ends.append(state_of(parts.model))

    start = state_of(make_parts(bert, **settings).model)
    assert not torch.allclose(start[NAME][USED], ends[0][NAME][USED], atol=1e-4)
    # Adam divides by the root of tiny second moments, and so makes much of the last bits of a gradient.
    assert values[1][0] == pytest.approx(values[0][0], abs=1e-4)
    assert values[1][1] == pytest.approx(values[0][1], abs=1e-4)
    for name, tensor in ends[0].items():
        assert torch.allclose(ends[1][name], tensor, atol=1e-4), name
    absent = [row for row in range(TABLE) if row not in USED]
    assert torch.equal(ends[1][NAME][absent], start[NAME][absent])


def test_decay_leaves_rows_that_no_text_has_alone(bert: Path) -> None:
    parts = make_parts(bert, optimizer__weight_decay=0.5)
    start = state_of(parts.model)[NAME]
    assert train_rows_in_use(parts)
    for _ in make_engine(parts).steps():
        pass
    whole_tables(parts.model)
    end = parts.model.get_parameter(NAME)

    absent = [row for row in range(TABLE) if row not in USED]
    assert torch.equal(end[absent], start[absent])
    assert not torch.equal(end[USED], start[USED])


def test_resumed_from_a_checkpoint_it_ends_bit_for_bit_the_same(bert: Path, tmp_path: Path) -> None:
    settings = {"model__dropout": 0.2}

    def begin() -> tuple[Parts, Engine]:
        parts = make_parts(bert, **settings)
        assert train_rows_in_use(parts)
        torch.manual_seed(5)
        return parts, make_engine(parts)

    parts, engine = begin()
    for _ in engine.steps():
        pass
    whole_tables(parts.model)
    expected = state_of(parts.model)

    parts, engine = begin()
    steps = engine.steps()
    for _ in range(7):
        next(steps)
    store = CheckpointStore(tmp_path, 1)
    checkpoint = store.save(parts.model, engine.optimizer, engine.progress, random_states())

    parts, engine = begin()
    engine.progress = restore(checkpoint, parts.model, engine.optimizer)
    assert engine.progress.step == 7
    for _ in engine.steps():
        pass
    whole_tables(parts.model)
    found = state_of(parts.model)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_plan_and_the_report_stay_as_they_were(bert: Path) -> None:
    parts = make_parts(bert)
    before = describe_plan(parts)
    assert train_rows_in_use(parts)
    for _ in make_engine(parts).steps():
        pass
    whole_tables(parts.model)

    assert describe_plan(parts) == before


REFUSED: list[dict[str, Any]] = [
    {"optimizer__name": "adafactor"},
    {"weights__source": "ema"},
    {"regularization__l2": 0.1},
    {"regularization__l2_sp": 0.1},
    {"regularization__r_drop": 1.0, "model__dropout": 0.1},
    {"regularization__mixup": 0.2},
    {"augmentation__word_dropout": 0.1},
    {"strategy": "bitfit"},
    {"strategy": "gradual", "training__num_epochs": 6},
]


@pytest.mark.parametrize("settings", REFUSED, ids=str)
def test_where_something_looks_at_the_whole_table_it_stays_whole(bert: Path, settings: dict[str, Any]) -> None:
    parts = make_parts(bert, **settings)

    assert train_rows_in_use(parts) is None
    assert parts.model.get_parameter(NAME).shape[0] == TABLE


@pytest.mark.parametrize("settings", [{"regularization__label_smoothing": 0.1}, {"weights__source": "soup"}], ids=str)
def test_a_loss_of_the_logits_alone_and_a_soup_can_go_with_it(bert: Path, settings: dict[str, Any]) -> None:
    assert train_rows_in_use(make_parts(bert, **settings))


def test_small_tables_and_those_in_use_stay_whole(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = make_parts(bert)
    monkeypatch.setattr(token_rows, "MOST_IN_USE", len(USED) / TABLE)
    assert train_rows_in_use(parts) is None
    monkeypatch.undo()
    assert token_rows.FEWEST_ROWS == 1000
    assert train_rows_in_use(parts) is None


def test_rows_that_change_by_epoch_leave_it_whole(bert: Path) -> None:
    class Changing(type(make_parts(bert).examples["train"])):  # type: ignore[misc]
        def at_epoch(self, epoch: int) -> Any:
            return self

    parts = make_parts(bert)
    rows = parts.examples["train"]
    rows.__class__ = Changing

    assert train_rows_in_use(replace(parts, examples={**parts.examples, "train": rows})) is None


def test_a_tied_table_stays_whole(bert: Path) -> None:
    parts = make_parts(bert)
    model: Any = parts.model
    model.output = nn.Linear(16, TABLE, bias=False)
    model.output.weight = model.get_input_embeddings().weight

    assert train_rows_in_use(parts) is None


def modules(model: nn.Module) -> Iterator[nn.Module]:
    yield from (module for module in model.modules() if isinstance(module, TokenRows))


def test_evaluation_reads_words_that_no_training_text_has(bert: Path) -> None:
    parts = make_parts(bert)
    assert train_rows_in_use(parts)
    word = torch.tensor([[tiny.WORDS.index("the")]])
    (embedding,) = modules(parts.model)

    with torch.inference_mode():
        assert torch.equal(embedding(word)[0, 0], embedding._table[word.item()])
