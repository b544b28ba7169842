"""The documents say what is so: every command, flag, recipe key, link and message in them exists."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import CHINESE, ENGLISH, PAGES, REPOSITORY, STRICT_PAGES, blocks_of, inline_code, prose_of

FILE_SUFFIXES = ("safetensors", "csv", "json", "jsonl", "yaml", "md", "parquet", "html", "txt", "py")
OTHER_TOOLS_FLAGS = {"--index-url"}


def test_derived_documents_are_up_to_date() -> None:
    path = REPOSITORY / "scripts" / "write_docs.py"
    spec = importlib.util.spec_from_file_location("write_docs", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = module.documents()
    assert [path.name for path in written] == ["recipe.md", "doctor.md"]
    for path, text in written.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date; run: make docs"


# --- Names exist -----------------------------------------------------------------------------------------------------


def flags_of(command: str) -> set[str]:
    import click

    from trimtab.cli.main import cli

    found = cli.get_command(click.Context(cli), command)
    assert found is not None, f"there is no command {command!r}"
    return {option for parameter in found.params for option in parameter.opts} | {"--help", "-h"}


def all_flags() -> set[str]:
    from trimtab.cli.main import COMMANDS

    return {"--help", "-h", "--debug", "--version"} | {flag for command in COMMANDS for flag in flags_of(command)}


def faults_of_command(line: str) -> list[str]:
    """What is wrong with a command line of ours as it stands in a document."""
    from trimtab.cli.main import COMMANDS

    faults = []
    for part in re.findall(r"(?:^|[\s|(])trimtab ([^|`]*)", line):
        words = shlex.split(part.replace("…", ""), comments=True)
        if not words or words[0] == "COMMAND" or words[0] == "--help":
            continue
        if words[0] not in COMMANDS:
            faults.append(f"no command {words[0]!r}: {line}")
            continue
        known = flags_of(words[0])
        faults += [f"no flag {word!r} of {words[0]}: {line}" for word in words if _is_flag(word) and word not in known]
        faults += faults_of_settings(words, line)
    return faults


def _is_flag(word: str) -> bool:
    return re.fullmatch(r"--?[a-z][a-z-]*", word) is not None


def recipe_keys() -> set[str]:
    from trimtab.config.fields import fields

    keys = {field.key for field in fields()}
    return keys | {"task.name", "strategy.name"}


def faults_of_settings(words: list[str], line: str) -> list[str]:
    settings = [after for word, after in itertools.pairwise(words) if word == "--set"]
    keys = [setting.partition("=")[0] for setting in settings if setting != "KEY=VALUE"]
    return [f"no recipe key {key!r}: {line}" for key in keys if key not in recipe_keys()]


def faults_of_page(text_lines: list[str], codes: list[str]) -> list[str]:
    """Commands in fenced lines and in inline code; single flags, settings and recipe keys in inline code."""
    sections = {key.partition(".")[0] for key in recipe_keys() if "." in key}
    faults = [fault for line in text_lines for fault in faults_of_command(line.strip().removeprefix("$ "))]
    flags = all_flags() | OTHER_TOOLS_FLAGS
    for code in codes:
        if code.startswith("trimtab "):
            faults += faults_of_command(code)
        elif code.startswith("--"):
            words = shlex.split(code)
            faults += [f"no flag {word!r}" for word in words if _is_flag(word) and word not in flags]
            faults += faults_of_settings(words, code)
        key = re.fullmatch(r"([a-z_]+)\.([a-z0-9_]+)(?:=.*)?", code)
        if key and key[1] in sections and key[2] not in FILE_SUFFIXES:
            name = f"{key[1]}.{key[2]}"
            faults += [] if name in recipe_keys() else [f"no recipe key {name!r}"]
    return faults


def fenced_lines(page: Path) -> list[str]:
    """Lines typed into a shell; a block that shows a wrong command (`exit=2`) is run by the walk, not judged here."""
    blocks = blocks_of(page)
    run = [
        line
        for block in blocks
        if block.language == "sh" and block.info != "exit=2"
        for line in block.text.splitlines()
    ]
    shown = [line for block in blocks if block.language == "console" for line in block.text.splitlines()]
    return [*run, *(line for line in shown if line.startswith("$ "))]


@pytest.mark.parametrize("page", STRICT_PAGES, ids=lambda page: page.name)
def test_commands_flags_and_recipe_keys_exist(page: Path) -> None:
    assert faults_of_page(fenced_lines(page), inline_code(page)) == []


def test_a_flag_that_does_not_exist_is_found() -> None:
    assert faults_of_page(["$ trimtab train x.csv --epoch 3"], []) == [
        "no flag '--epoch' of train: trimtab train x.csv --epoch 3"
    ]
    assert faults_of_page([], ["trimtab predict RUN --epochs 3"]) != []
    assert faults_of_page([], ["--epoch 3"]) == ["no flag '--epoch'"]
    assert faults_of_page([], ["--set optimizer.lr=1"]) == ["no recipe key 'optimizer.lr': --set optimizer.lr=1"]
    assert faults_of_page([], ["training.epochs"]) == ["no recipe key 'training.epochs'"]
    assert faults_of_page(["trimtab fit x.csv"], []) == ["no command 'fit': trimtab fit x.csv"]


@pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=lambda page: page.name)
def test_readme_names_every_command_strategy_and_exit_code(page: Path) -> None:
    from trimtab.cli.main import COMMANDS
    from trimtab.core import errors
    from trimtab.core.registry import STRATEGIES

    text = page.read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"| `trimtab {name}" not in text] == []
    assert [name for name in STRATEGIES.names() if f"`{name}`" not in text] == []
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")} | {0}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)} == codes


@pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=lambda page: page.name)
def test_what_readme_shows_of_the_data_is_what_is_printed(page: Path, tickets: Path) -> None:
    from trimtab.config.recipe import DataSection
    from trimtab.data.loading import load_dataset

    dataset = load_dataset(tickets, DataSection(), seed=0)
    shown = next(block.text for block in blocks_of(page) if block.language == "text")
    rows = ", ".join(f"{len(frame)} {split}" for split, frame in dataset.splits.items())
    for note in (*dataset.notes, f"rows: {rows}; {len(dataset.labels)} labels"):
        assert f"  {note}\n" in shown


def test_both_readmes_show_the_same_figures() -> None:
    tables = []
    for page in (ENGLISH, CHINESE):
        shown = next(block.text for block in blocks_of(page) if block.language == "text")
        tables.append(shown.partition("Judging these weights")[2])
    assert tables[0] == tables[1] != ""


@pytest.mark.parametrize("page", STRICT_PAGES, ids=lambda page: page.name)
def test_yaml_blocks_are_recipes(page: Path, tmp_path: Path) -> None:
    from trimtab.config.load import build_recipe

    written = [block.text for block in blocks_of(page) if block.language == "yaml"]
    written += re.findall(r"<<'END'\n(.*?)\nEND", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for text in written:
        file = tmp_path / "recipe.yaml"
        file.write_text(text, encoding="utf-8")
        assert "file" in build_recipe(file=file).origins.values()


@pytest.mark.parametrize("page", STRICT_PAGES, ids=lambda page: page.name)
def test_python_blocks_use_names_and_arguments_that_exist(page: Path) -> None:
    import trimtab

    for block in blocks_of(page):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                holder = {"trimtab": trimtab, "run": trimtab.Run}.get(node.value.id)
                assert holder is None or hasattr(holder, node.attr), f"{page.name}: {node.value.id}.{node.attr}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("trimtab.train", "run.evaluate"):
                function = trimtab.train if ast.unparse(node.func) == "trimtab.train" else trimtab.Run.evaluate
                given = {keyword.arg for keyword in node.keywords}
                assert given <= set(inspect.signature(function).parameters), f"{page.name}: {ast.unparse(node)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"[a-z]+://|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        aim = (page.parent / name).resolve() if name else page
        assert aim.exists(), f"{page.name}: {target}"
        assert aim.is_relative_to(REPOSITORY), f"{page.name}: {target} leads out of the repository"
        if anchor:
            assert anchor in anchors_of(aim), f"{page.name}: {target}"


def anchors_of(page: Path) -> set[str]:
    """Anchors of the headings, as the common hosts make them."""
    titles = re.findall(r"^#+ (.*)$", prose_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_make_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for page in STRICT_PAGES:
        lines = [line for block in blocks_of(page) for line in block.text.splitlines()]
        named = [line.removeprefix("$ ") for line in lines if line.startswith("$ make ")]
        named += [code for code in inline_code(page) if code.startswith("make ")]
        assert {command.split()[1] for command in named} <= targets, page.name


# --- Messages exist --------------------------------------------------------------------------------------------------


def message_pieces() -> list[str]:
    """Every text in the code and in the set-up script, with `…` for what is filled in."""
    found = [(REPOSITORY / "scripts" / "make_venv.sh").read_text(encoding="utf-8")]
    for path in sorted((REPOSITORY / "src" / "trimtab").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(str(part) for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_messages_in_troubleshooting_stand_in_the_code() -> None:
    page = REPOSITORY / "docs" / "troubleshooting.md"
    headings = re.findall(r"^\*\*(.+?)\*\*(?= |$)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    headings += re.findall(r"\bor \*\*(`.+?`)\*\*", page.read_text(encoding="utf-8"))
    quoted = [code for heading in headings for code in re.findall(r"`([^`]+)`", heading)]
    assert len(quoted) > 40
    fragments = [part.strip() for message in quoted for part in message.split("…")]
    wanted = {part for part in fragments if len(part) >= 8} - OPERATING_SYSTEM_WORDS
    pieces = message_pieces()
    assert [part for part in sorted(wanted) if not any(part in piece for piece in pieces)] == []


OPERATING_SYSTEM_WORDS = {": No space left on device."}


# --- The examples for contributors work ------------------------------------------------------------------------------


@pytest.fixture
def examples_registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Run the examples of CONTRIBUTING.md as if they were files of ours; their names together."""
    from trimtab.core.registry import STRATEGIES, TASKS

    STRATEGIES.names(), TASKS.names()
    for registry in (STRATEGIES, TASKS):
        monkeypatch.setattr(registry, "_plugins", dict(registry._plugins))
    blocks = [block for block in blocks_of(REPOSITORY / "CONTRIBUTING.md") if block.language == "python"]
    assert len(blocks) == 4
    names: dict[str, Any] = {}
    for block in blocks:
        module: dict[str, Any] = {"__name__": f"contributing_line_{block.line}"}
        exec(compile(block.text, f"CONTRIBUTING.md, line {block.line}", "exec"), module)  # noqa: S102
        names |= module
    yield names


def test_the_strategy_example_plans_a_model(examples_registered: dict[str, Any], tmp_path: Path) -> None:
    import tiny
    from transformers import AutoModelForSequenceClassification

    from trimtab.config.plugins import PluginSection, parse_options
    from trimtab.core.registry import STRATEGIES
    from trimtab.models.blocks import map_blocks

    model = AutoModelForSequenceClassification.from_pretrained(tiny.save_bert(tmp_path / "bert"), num_labels=3)
    section = PluginSection(name="biases", options={"head_factor": 2.0})
    strategy = STRATEGIES.get("biases")(parse_options("strategy", section))
    plan = strategy.plan(map_blocks(model), 1e-3)
    names = {name for name, _ in model.named_parameters()}
    head = {name for name in names if name.startswith(("classifier.", "bert.pooler."))}
    biases = {name for name in names if name.endswith(".bias")}
    assert [group.learning_rate for group in plan.groups] == [2e-3, 1e-3]
    assert plan.trained == head | biases
    assert not head & set(plan.groups[1].parameters)
    assert (plan.trained_in(0), plan.trained_in(1)) == (head, head | biases)


def test_the_hook_example_moves_weights_and_resumes(examples_registered: dict[str, Any]) -> None:
    import torch

    weight = torch.nn.Parameter(torch.zeros(2))
    hook = examples_registered["Lookahead"]({"w": weight}, every=2, share=0.5)
    for step in (1, 2):
        weight.data += 1.0
        hook.after_update(step)
    assert weight.tolist() == [1.0, 1.0], "half way between 0 and 2"

    again = examples_registered["Lookahead"]({"w": torch.nn.Parameter(torch.full((2,), 5.0))}, every=2)
    again.load_tensors(hook.tensors())
    again.after_update(4)
    assert again.parameters["w"].tolist() == [3.0, 3.0], "half way between the slow weights of the checkpoint and 5"


def test_the_objective_example_rewards_entropy(examples_registered: dict[str, Any]) -> None:
    import math
    from types import SimpleNamespace

    import torch

    from trimtab.config.plugins import PluginSection, parse_options
    from trimtab.core.registry import TASKS
    from trimtab.data.batching import Batch

    section = PluginSection(name="text-classification")
    task = TASKS.get(section.name)(parse_options("task", section), ("a", "b"))
    batch = Batch(inputs={}, labels=torch.tensor([0, 1, 1]), tokens=3, padded_tokens=3)
    objective = examples_registered["ConfidencePenalty"](task, 0.5)
    total, rows = objective.loss(lambda inputs: SimpleNamespace(logits=torch.zeros(3, 2)), batch, 1)
    assert rows == 3
    # An even guess: the cross-entropy and the entropy of each row are both log 2.
    assert total.item() == pytest.approx(3 * math.log(2) * (1 - 0.5))


def test_the_task_example_keeps_the_end_of_a_text(examples_registered: dict[str, Any]) -> None:
    import numpy as np
    import pandas as pd
    from tiny import make_tokenizer

    from trimtab.config.plugins import PluginSection, parse_options
    from trimtab.core.registry import TASKS
    from trimtab.tasks.base import TaskContext

    section = PluginSection(name="text-end-classification")
    task = TASKS.get(section.name)(parse_options("task", section), ("a", "b"))
    tokenizer = make_tokenizer()
    frame = pd.DataFrame({"text": ["the router is broken please", "thanks"], "label": ["b", "a"]})
    examples = task.encode(frame, TaskContext(tokenizer, max_length=3))
    assert examples.lengths.tolist()[0] == 3
    assert tokenizer.convert_tokens_to_ids("please") in examples.ids[0]
    assert tokenizer.convert_tokens_to_ids("the") not in examples.ids[0]
    batch = examples.collate(np.array([1, 0]))
    assert batch.labels is not None and batch.labels.tolist() == [0, 1]
    assert batch.inputs["attention_mask"].sum().item() == batch.tokens
    assert len(task.encode(frame.drop(columns="label").iloc[:0], TaskContext(tokenizer, 3))) == 0
