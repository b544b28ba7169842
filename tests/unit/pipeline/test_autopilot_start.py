"""What the autopilot settles before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny

from trimtab.config.load import build_recipe
from trimtab.config.origins import recipe_text
from trimtab.data.dataset import fingerprint
from trimtab.pipeline.autopilot import build_pilot, refuse_unfit_autopilot
from trimtab.pipeline.autopilot_start import Settled, leaked_rows, settle_before
from trimtab.pipeline.check import check
from trimtab.pipeline.helm import with_reserve
from trimtab.pipeline.parts import build_parts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    tiny.save_bert(folder / "bert")
    return folder


def settle(folder: Path, train: pd.DataFrame, held_out: pd.DataFrame, **settings: Any) -> Settled:
    train.to_csv(folder / "train.csv", index=False)
    held_out.to_csv(folder / "held_out.csv", index=False)
    overrides = {
        "model.name": str(folder / "bert"),
        "data.validation": str(folder / "held_out.csv"),
        "data.test_fraction": 0.0,
        "monitor.autopilot": "act",
        "training.device": "cpu",
        **{key.replace("__", "."): value for key, value in settings.items()},
    }
    resolved = build_recipe(overrides=overrides)
    ground, report = check(resolved, str(folder / "train.csv"))
    return settle_before(resolved, ground, report)


def table(count: int, *, seed: int = 0, longest: int = 14) -> pd.DataFrame:
    return pd.DataFrame(tiny.labelled_texts(count, seed=seed, longest=longest), columns=["text", "label"])


def numbered(first: int, count: int) -> pd.DataFrame:
    """Rows that no other row resembles."""
    return pd.DataFrame(
        {
            "text": [" ".join(f"word{(index * 7919 + place * 104729) % 99991}" for place in range(9))
                     for index in range(first, first + count)],
            "label": [list(tiny.CLASS_WORDS)[index % 3] for index in range(count)],
        }
    )  # fmt: skip


def test_leaked_rows_leave_the_training_rows(folder: Path) -> None:
    train, held_out = numbered(0, 60), numbered(1000, 30)
    held_out.loc[:11, "text"] = train["text"].iloc[5:17].str.upper().to_numpy()

    settled = settle(folder, train, held_out, data__force=True)

    splits = settled.ground.dataset.splits
    assert len(splits["train"]) == 48 and len(splits["validation"]) == 30
    assert not set(splits["train"]["row"]) & set(range(6, 18))
    assert splits["train"].index.tolist() == list(range(48))
    assert settled.ground.dataset.fingerprint["train"] == fingerprint(splits["train"])
    (action,) = settled.actions
    assert (action["remedy"], action["before"], action["after"]) == ("drop_leaked_rows", {"rows": 60}, {"rows": 48})
    assert "leakage" not in {found.name for found in settled.report.findings}
    assert not len(leaked_rows(settled.ground.dataset))


def test_nothing_is_settled_where_it_only_advises(folder: Path) -> None:
    train, held_out = numbered(0, 60), numbered(1000, 30)
    held_out.loc[:11, "text"] = train["text"].iloc[5:17].to_numpy()
    settled = settle(folder, train, held_out, data__force=True, monitor__autopilot="advise")
    assert not settled.actions and len(settled.ground.dataset.splits["train"]) == 60


def test_a_healthy_run_is_left_as_it_is(folder: Path) -> None:
    settled = settle(folder, numbered(0, 60), numbered(1000, 30))
    assert not settled.actions
    assert "autopilot" not in settled.resolved.origins.values()


def test_inputs_that_were_cut_short_become_longer(folder: Path) -> None:
    train, held_out = table(60, longest=28), table(30, seed=5, longest=28)
    settled = settle(folder, train, held_out, task="text-classification", task__max_length=5, data__force=True)

    assert [action["remedy"] for action in settled.actions if action["action"] == "autopilot"][-1:] == ["longer_inputs"]
    assert settled.resolved.origins["task.max_length"] == "autopilot"
    assert settled.ground.task.max_length(settled.ground.context) > 5
    (folder / "again.yaml").write_text(recipe_text(settled.resolved), encoding="utf-8")
    assert build_recipe(file=folder / "again.yaml").origins["task.max_length"] == "autopilot"


def test_a_new_head_trains(folder: Path) -> None:
    options = {"strategy": "partial", "strategy__train_head": False, "strategy__last_blocks": 1}
    settled = settle(folder, numbered(0, 60), numbered(1000, 30), **options)

    (action,) = settled.actions
    assert (action["remedy"], action["finding"]) == ("train_head", "frozen_part")
    assert settled.ground.strategy.options.train_head is True


def test_frozen_blocks_are_held_in_reserve(folder: Path) -> None:
    settled = settle(folder, numbered(0, 60), numbered(1000, 30), strategy="partial")
    parts = build_parts(settled.resolved, settled.ground)
    refuse_unfit_autopilot(parts)

    assert [group.name for group in with_reserve(parts).groups] == ["head", "block 0", "block 1"]
    assert [group.name for group in parts.plan.groups] == ["head"]
    advised = settle(folder, numbered(0, 60), numbered(1000, 30), strategy="partial", monitor__autopilot="advise")
    parts = build_parts(advised.resolved, advised.ground)
    assert with_reserve(parts) == parts.plan
    assert build_pilot(parts, None, None, None) is None  # type: ignore[arg-type]
