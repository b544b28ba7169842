from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.core import errors
from trimtab.core.errors import (
    DuplicateNameError,
    InterruptedRun,
    MissingDependencyError,
    RecipeError,
    TrimtabError,
    UnknownNameError,
    nearest,
)
from trimtab.core.optional import require
from trimtab.core.registry import REGISTRIES, Registry
from trimtab.core.seeds import seed_torch, stream, stream_seed


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry whose folder holds one plugin, `found`, beside modules that must not be imported."""
    package = tmp_path / "plugin_folder"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text("raise RuntimeError('base is no plugin')")
    (package / "_private.py").write_text("raise RuntimeError('private')")
    (package / "one.py").write_text(
        "from plugin_holder import registry\n@registry.register('found')\nclass Found:\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Registry("sample", "plugin_folder")
    holder = types.ModuleType("plugin_holder")
    holder.registry = made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "plugin_holder", holder)
    for name in ("plugin_folder", "plugin_folder.one"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return made


def test_a_folder_is_discovered(registry: Registry) -> None:
    assert registry.names() == ["found"]
    assert registry.get("found").name == "found"
    with pytest.raises(UnknownNameError, match=r"No sample is called 'fuond'\. Did you mean 'found'") as caught:
        registry.get("fuond")
    assert caught.value.remedy == "Known: found."


def test_entry_points_register(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign:
        pass

    point = types.SimpleNamespace(name="foreign", load=lambda: Foreign)
    monkeypatch.setattr(
        "trimtab.core.registry.entry_points", lambda group: [point] if group == "trimtab.sample" else []
    )
    assert registry.names() == ["foreign", "found"]
    assert registry.get("foreign") is Foreign


def test_a_name_is_given_once(registry: Registry) -> None:
    class First:
        pass

    class Second:
        pass

    registry.register("x")(First)
    registry.register("x")(First)  # the same class again, as on a reload
    with pytest.raises(DuplicateNameError, match="Two sample plugins are called 'x'"):
        registry.register("x")(Second)


def test_the_registries_of_the_house() -> None:
    assert {"text-classification", "image-classification"} <= set(REGISTRIES["task"].names())
    assert {"full", "partial"} <= set(REGISTRIES["strategy"].names())


def test_streams_differ_by_seed_and_name_and_repeat() -> None:
    assert stream_seed(0, "order", 1) == stream_seed(0, "order", 1)
    seeds = [stream_seed(seed, name, epoch) for seed in range(4) for name in ("order", "head") for epoch in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert np.array_equal(stream(1, "a").random(5), stream(1, "a").random(5))
    assert not np.array_equal(stream(1, "a").random(5), stream(2, "a").random(5))


def test_seeding_torch() -> None:
    import torch

    def draw(seed: int, *names: Any) -> torch.Tensor:
        seed_torch(seed, *names)
        return torch.rand(3)

    assert torch.equal(draw(0, "head"), draw(0, "head"))
    assert not torch.equal(draw(0, "head"), draw(0, "dropout"))


def test_every_error_of_ours_has_an_exit_code() -> None:
    ours = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TrimtabError)]
    assert len(ours) > 8
    assert {kind.exit_code for kind in ours} <= {1, 2, 130, 143}
    assert errors.DataError.exit_code == errors.ModelError.exit_code == errors.RunError.exit_code == 2


def test_the_text_of_an_error_holds_everything() -> None:
    error = RecipeError("Two faults.", remedy="Mend them.", problems=["one", "two"])
    assert str(error) == "Two faults.\n  - one\n  - two\nMend them."
    assert error.problems == ("one", "two")
    assert [InterruptedRun(name, "trimtab resume r").exit_code for name in ("SIGINT", "SIGTERM")] == [130, 143]
    assert "trimtab resume r" in str(InterruptedRun("SIGINT", "trimtab resume r"))


def test_nearest() -> None:
    assert nearest("learning_rat", ["seed", "learning_rate"]) == " Did you mean 'learning_rate'?"
    assert nearest("zzz", ["seed"]) == ""
    assert nearest("x", []) == ""


def test_a_missing_package_names_the_extra() -> None:
    assert require("json", extra="none", purpose="read") is sys.modules["json"]
    with pytest.raises(MissingDependencyError, match="'no_such_package' is needed to read images") as caught:
        require("no_such_package.part", extra="vision", purpose="read images")
    assert caught.value.remedy == "Install it with: pip install 'trimtab[vision]'"
