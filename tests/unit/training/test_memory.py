"""Where memory runs out, the token budget is halved, the step is done again, and the result stays the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_engine
import torch
from torch import nn

from trimtab.core.errors import OutOfMemoryError
from trimtab.training.engine import Engine
from trimtab.training.inference import Predictor
from trimtab.training.memory import is_out_of_memory

CPU_MESSAGE = (
    "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."
)
ERRORS = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": lambda: RuntimeError(CPU_MESSAGE),
    "python": lambda: MemoryError(),
    "mmap": lambda: RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    ),
}


class Narrow(nn.Module):
    """A model that has room for so many padded tokens only; it fails in the forward pass, or in the backward pass."""

    def __init__(self, model: nn.Module, room: int, kind: str = "cuda", *, backward: bool = False) -> None:
        super().__init__()
        self.model = model
        self.room = room
        self.kind = kind
        self.backward_only = backward
        self.seen: list[int] = []

    def forward(self, **inputs: torch.Tensor) -> Any:
        size = inputs["input_ids"].numel()
        self.seen.append(size)
        if size <= self.room:
            return self.model(**inputs)
        if not self.backward_only:
            raise ERRORS[self.kind]()
        outputs = self.model(**inputs)
        outputs.logits.register_hook(self._fail)
        return outputs

    def _fail(self, gradient: torch.Tensor) -> None:
        raise ERRORS[self.kind]()


def make_engine(room: int | None, *, budget: int = 8192, dropout: float = 0.0, **narrow: Any) -> Engine:
    recipe = tiny_engine.make_recipe(
        training={"num_epochs": 2, "batch_size": 16, "max_tokens_per_batch": budget, "gradient_accumulation_steps": 2}
    )
    model = tiny_engine.make_model(dropout=dropout)
    engine = tiny_engine.make_engine(model, tiny_engine.make_examples(40), recipe)
    if room is not None:
        engine.model = Narrow(model, room, **narrow)
    return engine


def final_weights(engine: Engine) -> dict[str, torch.Tensor]:
    for _ in engine.steps():
        pass
    return tiny_engine.weights_of(engine.model.model if isinstance(engine.model, Narrow) else engine.model)


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


@pytest.mark.parametrize("kind", sorted(ERRORS))
def test_the_budget_is_halved_and_the_run_goes_on(kind: str) -> None:
    engine = make_engine(room=64, budget=256, kind=kind)

    final_weights(engine)

    actions = [(action, fields["before"], fields["after"]) for action, fields in engine.notify]
    assert actions == [("shrink_token_budget", 256, 128), ("shrink_token_budget", 128, 64)]
    assert all(fields["reason"] for _, fields in engine.notify)
    assert engine.progress.token_budget == 64
    assert engine.progress.step == engine.total_steps
    assert engine.progress.examples == 2 * 40


@pytest.mark.parametrize("backward", [False, True])
def test_weights_are_those_of_a_run_with_the_small_budget_from_the_start(backward: bool) -> None:
    shrunk = final_weights(make_engine(room=64, budget=256, backward=backward))
    small = final_weights(make_engine(room=None, budget=64))
    whole = final_weights(make_engine(room=None))

    assert largest_difference(shrunk, small) < 1e-6
    # The steps are the same ones whatever the budget.
    assert largest_difference(small, whole) < 1e-4


def test_the_repeated_step_draws_the_dropout_of_a_run_with_the_small_budget() -> None:
    def run(room: int | None, budget: int) -> dict[str, torch.Tensor]:
        engine = make_engine(room=room, budget=budget, dropout=0.1)
        torch.manual_seed(7)
        return final_weights(engine)

    assert tiny_engine.same_weights(run(64, 256), run(None, 64))


def test_a_single_row_that_does_not_fit_is_an_error_in_words() -> None:
    engine = make_engine(room=3)
    longest = int(engine.examples.lengths.max())

    with pytest.raises(OutOfMemoryError) as caught:
        final_weights(engine)

    assert caught.value.exit_code == 1
    assert f"Step 1: the device's memory does not hold a single row of {longest} tokens" in caught.value.message
    assert "training.gradient_checkpointing=true" in caught.value.remedy
    assert engine.progress.token_budget == longest
    assert engine.progress.step == 0


def test_other_errors_pass_through() -> None:
    engine = make_engine(room=None)

    def fail(**inputs: torch.Tensor) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    engine.model.forward = fail
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        final_weights(engine)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("memory of elephants"))


def make_predictor(model: nn.Module, done: list[int] | None = None) -> Predictor:
    return Predictor(
        model=model,
        task=tiny_engine.make_task(),
        device=torch.device("cpu"),
        precision="fp32",
        token_budget=8192,
        progress=None if done is None else done.append,
    )


@pytest.mark.parametrize("kind", sorted(ERRORS))
def test_predictions_go_on_in_smaller_pieces(kind: str) -> None:
    examples = tiny_engine.make_examples(40)
    model = tiny_engine.make_model()
    expected = make_predictor(model).predict(examples)
    done: list[int] = []
    narrow = Narrow(model, room=64, kind=kind)

    found = make_predictor(narrow, done).predict(examples)

    assert np.abs(found.values - expected.values).max() < 1e-6
    assert found.loss == pytest.approx(expected.loss, abs=1e-6)
    assert sum(done) == 40
    assert max(narrow.seen) > 64


def test_a_single_row_that_cannot_be_predicted_is_an_error_in_words() -> None:
    examples = tiny_engine.make_examples(4)

    with pytest.raises(OutOfMemoryError, match=r"A single row of \d+ tokens does not fit"):
        make_predictor(Narrow(tiny_engine.make_model(), room=0)).predict(examples)


REAL = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import psutil, torch, tiny_engine
torch.set_num_threads(1)

# Attention over 16 rows of 1,000 words needs some hundred MB; a few rows of them fit.
rows = [(" ".join(["router"] * 1000), "network")] * 16
recipe = tiny_engine.make_recipe(training={"batch_size": 16, "max_tokens_per_batch": 65536})
model = tiny_engine.make_model(max_position_embeddings=1024, attn_implementation="eager")
import pandas as pd, tiny
from trimtab.tasks.base import TaskContext
tokenizer = tiny.make_tokenizer()
frame = pd.DataFrame(rows, columns=["text", "label"])
examples = tiny_engine.make_task().encode(frame, TaskContext(tokenizer, 1024))
engine = tiny_engine.make_engine(model, examples, recipe)
used = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (used + (350 << 20), used + (350 << 20)))
records = list(engine.steps())
print(len(records), records[0].loss is not None, engine.progress.token_budget, [a for a, _ in engine.notify])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of the address space works on Linux")
def test_a_real_lack_of_memory(tmp_path: Path) -> None:
    """The allocator of the processor itself refuses, under a limit of the address space."""
    script = tmp_path / "real.py"
    script.write_text(REAL)
    folder = Path(tiny_engine.__file__).parent

    done = subprocess.run(
        [sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    steps, trained, budget, *actions = done.stdout.split(maxsplit=3)
    assert (steps, trained) == ("1", "True")
    assert int(budget) < 65536
    assert "shrink_token_budget" in actions[0]
