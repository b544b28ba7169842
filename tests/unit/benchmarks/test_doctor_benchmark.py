"""The doctor's benchmark: faults change what they say, the two sides share nothing, and scores are counted right."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks" / "doctor"
if str(FOLDER) not in sys.path:
    sys.path.append(str(FOLDER))

import autopilot  # noqa: E402
import data_faults  # noqa: E402
import patches  # noqa: E402
from faults import FAULTS  # noqa: E402
from planned import plan, planned_run  # noqa: E402
from replay import Told, replay  # noqa: E402
from score import read_runs, table  # noqa: E402
from scoring import Scored, score, wilson  # noqa: E402
from settings import HEALTHY, HEALTHY_WORLDS, WORLDS  # noqa: E402
from truths import truths  # noqa: E402

from trimtab.core.registry import CONDITIONS  # noqa: E402
from trimtab.monitor.facts import Facts  # noqa: E402
from trimtab.monitor.trace import Evaluation, Trace  # noqa: E402


def _frames() -> dict[str, pd.DataFrame]:
    def frame(start: int, rows: int) -> pd.DataFrame:
        labels = ["a", "b", "c", "a"] * (rows // 4)
        return pd.DataFrame({"text": [f"text {start + n}" for n in range(rows)], "label": labels})

    return {"train": frame(0, 200), "validation": frame(1000, 80), "test": frame(2000, 40)}


def _change(name: str) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    before, fault = _frames(), FAULTS[name]
    assert fault.change is not None
    return before, fault.change(_frames(), np.random.default_rng(0))


@pytest.mark.parametrize(("name", "share"), [("flipped-5", 0.05), ("flipped-30", 0.30)])
def test_flipped_labels_are_of_other_classes_and_the_test_rows_stay(name: str, share: float) -> None:
    before, after = _change(name)
    for split in ("train", "validation"):
        differ = (before[split]["label"] != after[split]["label"]).mean()
        assert differ == pytest.approx(share, abs=0.01)
    assert after["test"].equals(before["test"])


def test_shuffled_labels_keep_their_counts() -> None:
    before, after = _change("shuffled")
    assert after["train"]["label"].value_counts().equals(before["train"]["label"].value_counts())
    assert (after["train"]["label"] != before["train"]["label"]).mean() > 0.4


def test_copied_rows_stand_in_train_with_their_labels() -> None:
    before, after = _change("copied-30")
    known = set(map(tuple, before["train"][["text", "label"]].to_numpy()))
    shared = [tuple(row) in known for row in after["validation"][["text", "label"]].to_numpy()]
    assert sum(shared) == 24
    assert len(after["validation"]) == 80


def test_the_giveaway_is_one_word_a_class() -> None:
    _, after = _change("giveaway")
    words = after["train"]["text"].str.split().str[0]
    marked = words != "text"
    assert marked.mean() > 0.9
    assert after["train"][marked].groupby(words[marked])["label"].nunique().max() == 1
    assert words[marked].nunique() == 3


def test_the_rare_class_keeps_two_percent_of_train_and_enough_held_out_rows() -> None:
    _, after = _change("rare-class")
    assert (after["train"]["label"] == "a").mean() == pytest.approx(0.02, abs=0.005)
    assert (after["validation"]["label"] == "a").sum() == 12


def test_few_rows_hold_every_class() -> None:
    _, after = _change("few-rows")
    assert len(after["train"]) == 60
    assert set(after["train"]["label"]) == {"a", "b", "c"}
    assert len(_change("few-validation")[1]["validation"]) == 20


def test_other_shares_make_the_common_class_rare_in_validation() -> None:
    before, after = _change("other-shares")
    assert (before["validation"]["label"] == "a").mean() == 0.5
    assert (after["validation"]["label"] == "a").mean() < 0.12


def test_sorted_rows_and_marked_rows() -> None:
    assert _change("sorted")[1]["train"]["label"].is_monotonic_increasing
    before, after = _change("bad-rows")
    marked = after["train"]["text"].str.startswith(data_faults.MARK)
    assert marked.sum() == data_faults.BAD_ROWS
    assert after["train"][~marked].equals(before["train"][~marked])


class TinyForSequenceClassification(nn.Module):
    """Its logits are ones."""

    def forward(self, inputs: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.ones_like(inputs))


def test_spikes_raise_the_logits_of_single_training_steps_only() -> None:
    model, clock = TinyForSequenceClassification(), patches.Clock(4)
    seen = []
    with patches.spikes(10.0, (0.5,))(clock):
        clock({"type": "start", "step": 0})
        for step in range(1, 5):
            seen.append(float(model(torch.ones(1)).logits))
            model.eval()
            assert float(model(torch.ones(1)).logits) == 1
            model.train()
            clock({"type": "step", "step": step, "seconds": 1.0})
    assert seen == [1, 10, 1, 1]


def test_overflow_begins_at_its_share_and_ends_with_the_patch() -> None:
    layer, inputs = nn.Linear(1, 1), torch.ones(1, 1)
    nn.init.constant_(layer.weight, 100.0)
    clock = patches.Clock(10)
    clock({"type": "start", "step": 0})
    with patches.overflow(clock):
        assert torch.isfinite(layer(inputs)).all()
        clock({"type": "step", "step": 3, "seconds": 1.0})
        assert torch.isinf(layer(inputs)).all()
    assert torch.isfinite(layer(inputs)).all()


def test_the_embedding_of_the_marked_token_is_nan() -> None:
    table = nn.Embedding(5, 2)
    clock = patches.Clock(10, mark_id=3)
    clock({"type": "start", "step": 0})
    with patches.nan_at_mark(clock):
        assert torch.isfinite(table(torch.tensor([[1, 2]]))).all()
        assert clock.planted == 0
        assert torch.isnan(table(torch.tensor([[1, 3]]))).all(-1).tolist() == [[False, True]]
    assert clock.planted == 1


def test_rows_in_order_replace_the_plan_of_an_epoch_and_give_it_back() -> None:
    from trimtab.training import engine

    original = engine.plan_epoch
    with patches.in_order(patches.Clock(1)):
        steps = engine.plan_epoch(np.ones(5), batch_size=2, seed=0, epoch=3)
    assert [list(batch) for step in steps for batch in step] == [[0, 1], [2, 3], [4]]
    assert engine.plan_epoch is original


def test_calibration_and_test_share_no_data_and_of_models_one_backbone_at_most() -> None:
    worlds = [*WORLDS.values(), *HEALTHY_WORLDS.values()]
    for attribute in ("data", "model"):
        sides = [
            {getattr(world, attribute) for world in worlds if world.split == side} for side in ("calibration", "test")
        ]
        # Of real backbones for images there are two.
        assert sides[0] & sides[1] <= {"mobilenet_imagenet"}
    healthy = [run for run in plan() if run.healthy]
    assert min(sum(run.world.split == side for run in healthy) for side in ("calibration", "test")) >= 20
    assert len({(run.world, run.key) for run in HEALTHY}) == len(HEALTHY)


def test_every_run_has_a_name_of_its_own_and_is_found_by_it() -> None:
    runs = plan()
    assert len({run.key for run in runs}) == len(runs)
    assert all(planned_run(run.world.name, run.name, run.seed) == run for run in runs)
    assert {run.fault.name for run in plan("test") if run.fault} == set(FAULTS)
    assert {run.name for run in plan(only=["rate-30"])} == {"rate-30"}
    with pytest.raises(KeyError):
        planned_run("trec-starter", "healthy-unheard-of", 0)


def test_faults_name_conditions_that_there_are() -> None:
    known = set(CONDITIONS.names())
    assert not {name for fault in FAULTS.values() for name in fault.conditions} - known


def _run(
    name: str, *, fault: str | None, last: dict[str, str], first: dict[str, int], also: tuple[str, ...] = ()
) -> Scored:
    meta: dict[str, Any] = {
        "id": name,
        "fault": fault,
        "expected": ["overfitting", "plateau"] if fault else [],
        "severity": "act" if fault else None,
        "also": list(also),
        "planted_step": 10 if fault else None,
        "split": "test",
    }
    return Scored(meta, Told(last, first, first, dict.fromkeys(last, "said"), 50))


def test_scores_of_made_up_runs() -> None:
    runs = [
        _run("1", fault="f", last={"overfitting": "act"}, first={"overfitting": 30}),
        _run("2", fault="f", last={"plateau": "warning", "leakage": "act"}, first={"plateau": 18, "leakage": 5}),
        _run("3", fault="f", last={"overfitting": "info"}, first={}),
        _run("4", fault=None, last={"overfitting": "warning"}, first={"overfitting": 20}, also=("overfitting",)),
        _run("5", fault=None, last={"leakage": "act"}, first={"leakage": 5}),
        _run("6", fault=None, last={}, first={}),
    ]
    figures = score(runs)
    overfitting, leakage = figures["conditions"]["overfitting"], figures["conditions"]["leakage"]
    assert overfitting["recall"] == wilson(2, 3)
    assert overfitting["planted"] == 3
    assert overfitting["precision"] == wilson(2, 2)
    assert overfitting["delay_steps"] == 14
    assert leakage["precision"] == wilson(0, 2)
    assert leakage["planted"] == 0
    assert figures["faults"]["f"] == {
        "runs": 3,
        "found": 2,
        "severe_enough": 1,
        "missed": ["3"],
        "false_acts": {"leakage": 1},
    }
    healthy = figures["healthy"]
    assert (healthy["runs"], healthy["with_act"], healthy["with_warning"]) == (3, 1, 1)
    assert healthy["share"] == wilson(1, 3)
    assert "1 of 3" in table(figures)


def test_wilson_intervals_against_known_values() -> None:
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662, 0 of 20 gives 0 to 0.1611.
    assert wilson(81, 263)[1:] == pytest.approx([0.2553, 0.3662], abs=1e-4)
    assert wilson(0, 20)[1:] == pytest.approx([0.0, 0.1611], abs=1e-4)
    assert all(math.isnan(value) for value in wilson(0, 0))


def _record(folder: Path, losses: list[float | None]) -> Path:
    """A run directory with nothing but a record of steps and evaluations every 10 steps."""
    folder.mkdir()
    events: list[dict[str, Any]] = [{"type": "start", "step": 0, "total_steps": len(losses), "steps_per_epoch": 10}]
    for step, loss in enumerate(losses, start=1):
        event: dict[str, Any] = {"type": "step", "step": step, "loss": loss, "learning_rates": {"all": 1e-4}}
        if loss is None:
            event |= {"skipped": "the loss is NaN", "rows": [step]}
        events.append({**event, "grad_norm": 1.0, "seconds": 0.1})
        if step % 10 == 0:
            metrics = {"loss": 0.6, "accuracy": 0.8}
            events.append({"type": "evaluation", "step": step, "split": "validation", "metrics": metrics})
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    meta = {
        "id": folder.name,
        "fault": "overflow",
        "expected": ["divergence"],
        "severity": "act",
        "also": [],
        "planted_step": 12,
        "split": "test",
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return folder


def test_a_record_is_diagnosed_as_it_grew(tmp_path: Path) -> None:
    smooth = [0.7 - 0.005 * step for step in range(30)]
    sound = _record(tmp_path / "test--sound", [float(loss) for loss in smooth])
    faulty = _record(tmp_path / "test--faulty", [*smooth[:12], None, None, *smooth[14:]])
    assert "divergence" not in replay(sound).first
    told = replay(faulty)
    assert told.first["divergence"] == 20
    assert "divergence" in told.last
    scored = {run.meta["id"]: run for run in read_runs(tmp_path, "test")}
    assert scored["test--faulty"].delay == 8
    assert read_runs(tmp_path, "calibration") == []


def test_arms_are_paired_and_a_run_without_a_model_counts_as_guessing(tmp_path: Path) -> None:
    def keep(arm: str, key: str, value: float | None) -> None:
        folder = tmp_path / arm / key
        (folder / "data").mkdir(parents=True)
        (folder / "meta.json").write_text("{}", encoding="utf-8")
        event = {"type": "action", "step": 1, "action": "autopilot", "remedy": "lower_rate"}
        (folder / "events.jsonl").write_text(json.dumps(event) + "\n" if arm == "act" else "", encoding="utf-8")
        if value is None:
            pd.DataFrame({"label": ["a", "a", "a", "b"]}).to_parquet(folder / "data" / "test.parquet")
            return
        content = {"primary_metric": "macro_f1", "metrics": {"macro_f1": {"value": value}}}
        (folder / "evaluation.json").write_text(json.dumps(content), encoding="utf-8")

    for seed, (off, act) in enumerate([(None, 0.8), (0.6, 0.8)]):
        key = planned_run("numbers-bert5", "rate-30", seed, autopilot.TEST_ROWS).key
        keep("off", key, off)
        keep("act", key, act)
    group = autopilot.compare(tmp_path, 3)["rate-30"]
    # Always saying the class of three in four rows: F1 of 6/7 for it and 0 for the other.
    assert group["off"] == pytest.approx([3 / 7, 0.6])
    assert group["failed_off"] == 1
    assert group["actions"] == {"lower_rate": 2}
    assert group["difference"][0] == pytest.approx((0.8 - 3 / 7 + 0.2) / 2, abs=1e-4)
    assert "rate-30" in autopilot.table({"rate-30": group})


def test_what_is_true_of_a_run_beside_its_fault(tmp_path: Path) -> None:
    trace = Trace(Facts(label_counts={"train": [50, 50]}))
    held_in = {"accuracy": 0.99, "loss": 0.02}
    trace.evaluations.append(Evaluation(10, 1.0, {"accuracy": 0.7}, held_in, {"predicted": [55, 45]}))
    assert truths(trace) == {"overfitting", "overconfidence"}
    chance = {"accuracy": 0.5, "loss": 0.69}
    trace.evaluations.append(Evaluation(20, 2.0, {"accuracy": 0.5}, chance, {"predicted": [100, 0]}))
    assert truths(trace) == {"underfitting", "class_collapse"}
    trace.final = {
        "primary_metric": "macro_f1",
        "metrics": {"macro_f1": {"value": 0.6}},
        "baselines": {"TF-IDF": {"macro_f1": {"value": 0.55}}},
        "differences": {"TF-IDF": {"value": 0.05, "low": -0.02, "high": 0.12}},
    }
    assert "seed_noise" in truths(trace)
    assert truths(Trace()) == set()


def test_what_a_run_has_of_its_own_excuses_a_warning_but_not_an_act() -> None:
    meta = {"id": "1", "fault": None, "expected": [], "severity": None, "also": [], "planted_step": None}
    told = Told({"overfitting": "warning"}, {}, {}, {}, 10, frozenset({"overfitting"}))
    assert not Scored(meta, told).false_warnings
    acting = Told({"overfitting": "act"}, {}, {}, {}, 10, frozenset({"overfitting"}))
    assert Scored(meta, acting).false_acts == {"overfitting"}


def test_info_is_enough_for_a_fault_that_merits_no_more() -> None:
    meta = {
        "id": "1",
        "fault": "spikes",
        "expected": ["loss_spikes"],
        "severity": "info",
        "also": [],
        "planted_step": 5,
    }
    told = Told({"loss_spikes": "info"}, {}, {"loss_spikes": 9}, {}, 10)
    run = Scored(meta, told)
    assert (run.found, run.severe_enough, run.delay) == (True, True, 4)
    stern = Scored({**meta, "severity": "warning"}, told)
    assert (stern.found, stern.severe_enough, stern.delay) == (False, False, None)
