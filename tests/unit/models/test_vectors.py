"""Reading vectors, and the map from their space to another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from trimtab.core.errors import RecipeError
from trimtab.models import vectors as module
from trimtab.models.vectors import fit_linear_map, read_vectors


def every(token: str) -> bool:
    return True


def write_folder(folder: Path, tensors: dict[str, torch.Tensor], vocabulary: object) -> str:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "vectors.safetensors")
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    return str(folder)


def fault_of(path: object) -> str:
    with pytest.raises(RecipeError) as caught:
        read_vectors(str(path), every)
    assert caught.value.remedy
    return caught.value.message


def test_a_folder_of_safetensors_and_vocabulary(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).reshape(3, 2).half()
    path = write_folder(tmp_path / "v", {"embedding": matrix}, {"天": 2, "气": 0, "b": 1})
    vectors = read_vectors(path, lambda token: token != "b")
    assert vectors.rows == {"天": 2, "气": 0}
    assert vectors.of(["气", "天"]).tolist() == [[0, 1], [4, 5]] and vectors.matrix.dtype == np.float32
    assert read_vectors(f"{path}/vectors.safetensors", every).rows.keys() == {"天", "气", "b"}


@pytest.mark.parametrize("header", ["", "3 2\n"])
def test_a_text_file_with_and_without_counts(tmp_path: Path, header: str) -> None:
    file = tmp_path / "v.vec"
    file.write_text(f"{header}the 1 2\nNew York 3 -4e-1\n天 5 6 \nthe 7 8\n", encoding="utf-8")
    vectors = read_vectors(str(file), every)
    assert list(vectors.rows) == ["the", "New York", "天"]
    assert vectors.of(["the", "New York", "天"]).tolist() == [[1, 2], [3, pytest.approx(-0.4)], [5, 6]]
    assert list(read_vectors(str(file), lambda token: token == "天").rows) == ["天"]


def test_what_is_wrong_with_a_folder(tmp_path: Path) -> None:
    assert "there is no file" in fault_of(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "found: none" in fault_of(tmp_path / "empty")
    matrix = torch.ones(3, 2)
    path = write_folder(tmp_path / "v", {"one": matrix, "other": matrix + 1}, {"a": 0})
    assert "one matrix; found: one, other" in fault_of(path)
    assert "one matrix; found: none" in fault_of(write_folder(tmp_path / "v", {"flat": torch.ones(3)}, {"a": 0}))
    path = write_folder(tmp_path / "v", {"one": matrix}, {"a": 0, "b": 3})
    assert "puts 'b' at row 3, and vectors.safetensors has 3 rows" in fault_of(path)
    assert "should map each token" in fault_of(write_folder(tmp_path / "v", {"one": matrix}, ["a", "b", "c"]))
    assert "should map each token" in fault_of(write_folder(tmp_path / "v", {"one": matrix}, {"a": "0"}))
    (tmp_path / "v" / "vocab.json").write_text("{")
    assert "vocab.json cannot be used: it is no JSON" in fault_of(path)
    (tmp_path / "v" / "vocab.json").unlink()
    assert "vocab.json cannot be used: it cannot be read" in fault_of(path)
    (tmp_path / "v" / "vectors.safetensors").write_bytes(b"no tensors")
    assert "no safetensors file" in fault_of(path)
    save_file({"one": matrix}, tmp_path / "v" / "second.safetensors")
    assert "found: second.safetensors, vectors.safetensors" in fault_of(path)
    path = write_folder(tmp_path / "w", {"one": torch.tensor([[1.0, 2.0], [float("nan"), 1.0]])}, {"a": 0, "b": 1})
    assert "the vector of 'b' holds NaN" in fault_of(path)


def test_what_is_wrong_with_a_text_file(tmp_path: Path) -> None:
    file = tmp_path / "v.txt"
    for content, words in {
        "a 1 2\nb 1\n": "line 2 should hold a token and 2 numbers",
        "a\n": "line 1 should hold a token and several numbers",
        "a 1 2\nb x 2\n": "line 2 holds something else than numbers",
    }.items():
        file.write_text(content)
        assert words in fault_of(file)
    file.write_bytes(b"\xff\xfe\x00 1 2\n")
    assert "cannot be read as UTF-8" in fault_of(file)


def test_a_linear_relation_is_found_again() -> None:
    draw = np.random.default_rng(0)
    source = draw.normal(size=(50, 4)) + 3
    weights, shift = draw.normal(size=(4, 7)), draw.normal(size=7)
    fit = fit_linear_map(source, source @ weights + shift)
    unseen = draw.normal(size=(5, 4))
    assert fit.r2 > 0.999999 and fit.rows == 50 and fit.spread == pytest.approx(1, abs=1e-3)
    assert np.allclose(fit(unseen), unseen @ weights + shift, atol=2e-3)


def test_mapped_rows_lie_as_far_from_the_mean_as_the_rows_of_the_target() -> None:
    draw = np.random.default_rng(0)
    source = draw.normal(size=(200, 5))
    target = 0.5 * source @ draw.normal(size=(5, 30)) + draw.normal(size=(200, 30)) + 2
    fit = fit_linear_map(source, target)
    mapped = fit(source)
    assert 0.2 < fit.r2 < 0.8 and fit.spread > 1.1
    assert np.allclose(mapped.mean(axis=0), target.mean(axis=0))
    distances = [np.sqrt(((rows - target.mean(axis=0)) ** 2).sum(axis=1).mean()) for rows in (mapped, target)]
    assert distances[0] == pytest.approx(distances[1])


def test_the_share_explained_is_that_on_rows_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against leaving out each row and fitting anew, with the normal equations."""
    draw = np.random.default_rng(1)
    source, noise = draw.normal(size=(12, 3)), draw.normal(size=(12, 2))
    target = source @ draw.normal(size=(3, 2)) + noise
    factor = 0.7
    monkeypatch.setattr(module, "_PENALTIES", np.array([factor]))
    penalty = factor * float((np.linalg.svd(source - source.mean(axis=0))[1] ** 2).mean())
    errors, spread = 0.0, 0.0
    for row in range(12):
        rest = np.arange(12) != row
        # The intercept as a column without penalty: centring on all rows differs from centring on those left in.
        design = np.column_stack([np.ones(11), source[rest]])
        solution = np.linalg.solve(design.T @ design + np.diag([0.0, *[penalty] * 3]), design.T @ target[rest])
        errors += ((target[row] - np.array([1.0, *source[row]]) @ solution) ** 2).sum()
        spread += ((target[row] - target[rest].mean(axis=0)) ** 2).sum()
    assert fit_linear_map(source, target).r2 == pytest.approx(1 - errors / spread)


def test_unrelated_spaces_explain_nothing() -> None:
    draw = np.random.default_rng(0)
    fit = fit_linear_map(draw.normal(size=(60, 20)), draw.normal(size=(60, 8)))
    assert fit.r2 < 0.05
    assert np.isfinite(fit(draw.normal(size=(3, 20)))).all()


def test_a_source_without_variance_maps_to_the_mean() -> None:
    target = np.random.default_rng(0).normal(size=(5, 3))
    fit = fit_linear_map(np.ones((5, 2)), target)
    assert np.allclose(fit(np.ones((1, 2))), target.mean(axis=0)) and fit.r2 <= 0
