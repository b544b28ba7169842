"""`trimtab cache`: what is listed, what is removed, and what is left alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trimtab.cli.cache import command
from trimtab.core.cache import MIB, TAG, DiskCache
from trimtab.core.errors import RecipeError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache of two kinds, in a folder with something else in it."""
    place = tmp_path / "cache"
    for kind, sizes in {"tokens": [MIB, MIB], "reports": [1000]}.items():
        cache = DiskCache(kind, place, 1 << 30)
        for index, size in enumerate(sizes):
            cache.put(f"key{index}", lambda aside, size=size: (aside / "data").write_bytes(bytes(size)))
    (place / "photos").mkdir()
    (place / "photos" / "dear.png").write_bytes(b"x")
    return place


def run(*arguments: Any) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    return result.output


def test_kinds_are_listed(folder: Path) -> None:
    kinds = json.loads(run("--folder", folder, "--json"))["kinds"]
    assert [(kind["kind"], kind["entries"], kind["mib"]) for kind in kinds] == [("reports", 1, 0.0), ("tokens", 2, 2.0)]
    assert all(kind["last_used"] > 1e9 for kind in kinds)
    table = run("--folder", folder)
    assert "tokens" in table and "2.0" in table and "photos" not in table


def test_one_kind_is_cleared(folder: Path) -> None:
    left = folder / "tokens" / ".key.1.dead.tmp"
    left.mkdir()
    run("--folder", folder, "--clear", "tokens")
    assert sorted(path.name for path in folder.iterdir()) == ["photos", "reports"]


def test_all_is_cleared_but_what_is_not_ours(folder: Path) -> None:
    told = json.loads(run("--folder", folder, "--json", "--clear"))
    assert told["cleared"] and len(told["kinds"]) == 2
    assert [path.name for path in folder.iterdir()] == ["photos"]
    assert (folder / "photos" / "dear.png").is_file()
    assert "Nothing is kept" in run("--folder", folder)


def test_an_unknown_kind_is_named_with_those_there_are(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"'tokns'.*tokens") as caught:
        run("--folder", folder, "--clear", "tokns")
    assert "reports, tokens" in str(caught.value.remedy)
    assert (folder / "tokens").is_dir()


def test_the_folder_is_that_of_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE", str(folder))
    assert json.loads(run("--json"))["folder"] == str(folder)
    assert "Nothing is kept" in run("--folder", folder / "nowhere")


def test_backup_programs_are_told(folder: Path) -> None:
    assert (folder / "tokens" / TAG).read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")


def test_help_comes_without_torch() -> None:
    script = (
        "import sys; from click.testing import CliRunner; from trimtab.cli.cache import command\n"
        "result = CliRunner().invoke(command, ['--help'])\n"
        "assert '--clear' in result.output and '--folder' in result.output, result.output\n"
        "assert not {'torch', 'pandas', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
