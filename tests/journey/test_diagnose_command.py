"""`trimtab diagnose` on runs of ours and records of others: what is said, as text, as JSON and as a page."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from command import QUICK, files_below, trimtab

import trimtab as package
from trimtab.core.errors import RunError
from trimtab.monitor.findings import Finding


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on a tiny model."""
    place = tmp_path_factory.mktemp("place")
    tiny.save_bert(place / "bert")
    data = tiny.write_csv(place / "t.csv", 90)
    outcome = trimtab("train", data, "--model", place / "bert", "--output", place / "run", "--device", "cpu", *QUICK)
    assert outcome.code == 0, outcome.err
    return place / "run"


def diverging(path: Path) -> Path:
    """A table of a run whose loss falls, and then is NaN."""
    draw = random.Random(0)
    lines = [f"{step},{1.0 - step / 100 + draw.gauss(0, 0.02):.4f},1e-4" for step in range(1, 41)]
    lines += [f"{step},nan,1e-4" for step in range(41, 61)]
    path.write_text("\n".join(["step,train_loss,lr", *lines]) + "\n")
    return path


def test_a_finished_run(run: Path, tmp_path: Path) -> None:
    before = files_below(run)
    outcome = trimtab("diagnose", run)
    assert outcome.code == 0
    assert re.match(rf"{re.escape(str(run))}: step \d+ of \d+, \d+ evaluations?, finished\n", outcome.out)
    assert "he doctor looked for" in outcome.out
    assert files_below(run) == before

    told = trimtab("diagnose", run, "--json").json
    assert (told["run"], told["origin"], told["finished"]) == (str(run), "trimtab", True)
    assert told["step"] == told["total_steps"]
    assert "overfitting" in told["examined"]
    assert not set(told["examined"]) & set(told["not_examined"])
    findings = [Finding.from_dict(finding) for finding in told["findings"]]
    assert [finding.name for finding in package.diagnose(run)] == [finding.name for finding in findings]


def test_a_run_that_goes_on_or_was_killed(run: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(run, part)
    for name in ("evaluation.json", "diagnosis.json"):
        (part / name).unlink(missing_ok=True)
    lines = (part / "events.jsonl").read_text().splitlines(keepends=True)
    steps = [index for index, line in enumerate(lines) if '"type": "step"' in line]
    (part / "events.jsonl").write_text("".join(lines[: steps[0] + 1]) + lines[steps[1]][:40])
    told = trimtab("diagnose", part, "--json").json
    assert (told["step"], told["finished"]) == (1, False)
    assert "not finished" in trimtab("diagnose", part).out


def test_a_table_of_losses_that_became_nan(tmp_path: Path) -> None:
    table = diverging(tmp_path / "losses.csv")
    page = tmp_path / "page.html"
    outcome = trimtab("diagnose", table, "--html", page)
    assert outcome.code == 0
    assert "Since step 41 the loss is NaN or infinite" in outcome.out
    assert "no validation losses" in outcome.out
    assert "$ trimtab train" not in outcome.out  # there is no recipe to change
    assert f"Written: {page}" in outcome.out
    text = page.read_text()
    assert "Since step 41 the loss is NaN" in text and "losses.csv" in text
    assert "<svg" in text
    assert not re.search(r"""(?:src|href)=["']https?://""", text)

    told = trimtab("diagnose", table, "--json").json
    (finding,) = (finding for finding in told["findings"] if finding["name"] == "divergence")
    assert (finding["severity"], finding["since"]) == ("act", 41)
    assert told["not_examined"]["overfitting"] == "no validation losses"


def test_no_torch_is_imported_for_a_table(tmp_path: Path) -> None:
    table = diverging(tmp_path / "losses.csv")
    code = (
        "import sys\nfrom trimtab.cli.main import cli\n"
        f"assert cli.main(['diagnose', {str(table)!r}], standalone_mode=False) == 0\n"
        "print(sorted({'torch', 'transformers', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_nothing_to_say_of_one_row(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("step,loss\n1,0.5\n")
    outcome = trimtab("diagnose", tmp_path / "one.csv")
    assert outcome.code == 0
    assert "one.csv: step 1, 0 evaluations\n" in outcome.out
    assert "Nothing found" in outcome.out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing", None, "There is nothing at"),
        ("empty.csv", "", "is empty"),
        ("columns.csv", "a,b\n1,2\n", "no column with a loss. Its columns: a, b."),
        ("trainer_state.json", '{"log_history": []}', "holds no loss"),
        ("other.json", json.dumps({"a": 1}), "has no log_history"),
    ],
)
def test_what_is_no_record_ends_with_2_and_a_remedy(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    outcome = trimtab("diagnose", tmp_path / name)
    assert outcome.code == 2
    assert message in outcome.error
    assert len(outcome.error.splitlines()) >= 2
    with pytest.raises(RunError):
        package.diagnose(tmp_path / name)


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    table = diverging(tmp_path / "losses.csv")
    outcome = trimtab("diagnose", table, "--html", tmp_path / "missing" / "page.html")
    assert outcome.code == 2
    assert "Cannot write" in outcome.error
