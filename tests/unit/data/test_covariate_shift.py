"""The two-sample test between train and held-out rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from trimtab.config.recipe import DataSection
from trimtab.core.cache import DiskCache
from trimtab.data import report_cache
from trimtab.data.dataset import Columns, Dataset
from trimtab.data.report import data_report
from trimtab.data.shift import area_under_curve, covariate_shift, find_shifts


def rows(count: int, first: int, last: int, seed: int) -> pd.DataFrame:
    """Random texts of the words numbered from `first` to `last`."""
    draw = np.random.default_rng(seed)
    texts = [" ".join(f"w{index}" for index in draw.integers(first, last, 8)) for _ in range(count)]
    return pd.DataFrame({"text": texts, "label": ["a", "b"] * (count // 2), "row": range(count), "source": "f"})


def test_texts_of_other_words_are_told_apart() -> None:
    splits = {"train": rows(200, 0, 50, 0), "validation": rows(80, 15, 65, 1), "test": rows(80, 0, 50, 2)}
    found = list(covariate_shift(find_shifts(splits, ())))
    assert [finding.evidence["split"] for finding in found] == ["validation"]
    evidence = found[0].evidence
    assert evidence["area"] > 0.8 and evidence["rows"] == (200, 80) and 0 < evidence["error"] < 0.05
    assert all(int(word[1:]) >= 50 for word in evidence["typical"])


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_the_same_kind_are_not(seed: int) -> None:
    splits = {"train": rows(60, 0, 50, 10 + seed), "validation": rows(30, 0, 50, 20 + seed)}
    shifts = find_shifts(splits, (), seed=seed)
    assert len(shifts) == 1 and list(covariate_shift(shifts)) == []


def test_splits_that_were_cut_at_random_and_tiny_ones_are_left_out() -> None:
    other = {"train": rows(200, 0, 50, 0), "validation": rows(80, 60, 80, 1)}
    assert find_shifts(other, ("validation",)) == []
    assert find_shifts({**other, "validation": other["validation"][:10]}, ()) == []
    assert find_shifts({"train": other["train"]}, ()) == []
    assert find_shifts({"train": other["train"][:0], "validation": other["validation"]}, ()) == []
    blank = {name: frame.assign(text="") for name, frame in other.items()}
    assert find_shifts(blank, ())[0].area == 0.5


def test_area_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    positive = np.arange(90) < 40
    scores = np.round(draw.standard_normal(90) + positive, 1)
    area, error = area_under_curve(scores, positive)
    assert area == pytest.approx(roc_auc_score(positive, scores))
    # Hanley & McNeil's formula for 40 and 50 rows, written out.
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + 39 * (q1 - area**2) + 49 * (q2 - area**2)) / 2000
    assert error == pytest.approx(variance**0.5)


def test_images_by_their_colours(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    draw = np.random.default_rng(0)

    def pictures(name: str, count: int, brighter: int) -> pd.DataFrame:
        paths = []
        for index in range(count):
            paths.append(str(tmp_path / f"{name}{index}.png"))
            image.fromarray(draw.integers(brighter, 156 + brighter, (10, 10, 3), dtype=np.uint8)).save(paths[-1])
        return pd.DataFrame({"image": paths, "label": ["a", "b"] * (count // 2), "row": range(count), "source": paths})

    train = pictures("t", 40, 0)
    same, brighter = pictures("v", 30, 0), pictures("b", 30, 60)
    shifts = find_shifts({"train": train, "validation": same, "test": brighter}, ())
    assert [finding.evidence["split"] for finding in covariate_shift(shifts)] == ["test"]


def test_the_report_tells_it_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"train": rows(200, 0, 50, 0), "validation": rows(80, 30, 80, 1)}
    dataset = Dataset(splits, Columns(text=("text",), label="label"), "text-classification", ("a", "b"), "t")
    monkeypatch.setattr(report_cache, "FEWEST_TEXTS", 2)
    cache = DiskCache("reports", tmp_path / "cache", 1 << 20)
    plain = data_report(dataset, options=DataSection())
    assert "covariate_shift" in [finding.name for finding in plain.findings]
    assert data_report(dataset, options=DataSection(), cache=cache) == plain
    monkeypatch.setattr(report_cache, "find_shifts", None)
    monkeypatch.setattr(report_cache, "find_giveaways", None)
    assert data_report(dataset, options=DataSection(), cache=cache) == plain
