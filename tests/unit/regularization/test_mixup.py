"""Mixup: the identity it rests on, its draws, and resume."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_architectures
import tiny_engine
import torch

from trimtab.core.seeds import stream
from trimtab.data.batching import Batch
from trimtab.models.blocks import map_blocks
from trimtab.regularization.criteria import Criterion
from trimtab.regularization.mixup import MixupObjective
from trimtab.tasks.base import ClassificationTask


def objective(alpha: float = 0.4, seed: int = 0) -> MixupObjective:
    return MixupObjective(tiny_engine.make_task(), Criterion(), alpha, seed)


def drawn(step: int, piece: int, rows: int, alpha: float = 0.4, seed: int = 0) -> tuple[float, torch.Tensor]:
    generator = stream(seed, "mixup", step, piece)
    return generator.beta(alpha, alpha), torch.from_numpy(generator.permutation(rows))


@pytest.mark.parametrize("architecture", tiny_architectures.ALL)
def test_mixing_what_the_last_layer_reads_is_mixing_its_logits(architecture: str) -> None:
    """For every architecture, with random representations put in at the layer that gives the logits."""
    model = tiny_architectures.make(architecture)
    inputs = tiny_architectures.inputs(architecture)
    share, partners = 0.3, torch.tensor([1, 0])
    last = [module for name in map_blocks(model).head.modules for module in model.get_submodule(name).modules()]
    layer = [module for module in last if isinstance(module, torch.nn.Linear)][-1]
    draw = torch.Generator()

    def put_in(module: torch.nn.Module, args: tuple[torch.Tensor]) -> torch.Tensor:
        hidden = torch.randn(args[0].shape, generator=draw.manual_seed(0))
        return share * hidden + (1 - share) * hidden[partners]

    layer.register_forward_pre_hook(put_in)
    mixed_representations = model(**inputs).logits
    partners = torch.tensor([0, 1])
    plain = model(**inputs).logits

    expected = share * plain + (1 - share) * plain.flip(0)
    assert torch.allclose(mixed_representations, expected, atol=1e-6)
    assert not torch.allclose(mixed_representations, plain, atol=1e-3)


def test_loss_by_its_definition() -> None:
    model = tiny_engine.make_model()
    batch = tiny_engine.make_examples(6).collate(np.arange(6))
    criterion = Criterion(label_smoothing=0.1, weights=torch.tensor([0.5, 1.0, 2.0]))

    mixup = MixupObjective(tiny_engine.make_task(), criterion, 0.4, 0)
    total, count = mixup.loss(lambda inputs: model(**inputs), batch, 3)

    assert batch.labels is not None
    share, partners = drawn(3, 0, 6)
    logits = model(**batch.inputs).logits
    mixed = share * logits + (1 - share) * logits[partners]
    expected = share * criterion(mixed, batch.labels) + (1 - share) * criterion(mixed, batch.labels[partners])
    assert count == 6
    assert total.item() == pytest.approx(expected.sum().item(), rel=1e-6)


def losses(mixup: MixupObjective, steps: list[int]) -> list[float]:
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    batch = Batch({}, torch.arange(8) % 3, 8, 8)
    return [mixup.loss(lambda inputs: SimpleNamespace(logits=logits), batch, step)[0].item() for step in steps]


def test_pieces_of_a_step_draw_in_turn_and_a_resumed_run_draws_the_same() -> None:
    whole = losses(objective(), [1, 1, 2, 2, 2, 3])
    resumed = losses(objective(), [2, 2, 2, 3])

    assert resumed == whole[2:]
    assert len(set(whole)) == len(whole)
    assert losses(objective(seed=1), [2]) != whole[2:3]


def test_shares_follow_the_beta_distribution() -> None:
    mixup = objective(alpha=0.4)

    shares = np.array([mixup._draw(step, 2)[0] for step in range(4000)])

    # Beta(α, α): mean 1/2, variance 1/(4(2α + 1)) ≈ 0.139.
    assert shares.mean() == pytest.approx(0.5, abs=4 * (0.139 / 4000) ** 0.5)
    assert shares.var() == pytest.approx(1 / (4 * 1.8), rel=0.05)


def test_a_row_alone_stays_as_it_is() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5]])
    batch = Batch({}, torch.tensor([1]), 1, 1)

    total, _ = objective().loss(lambda inputs: SimpleNamespace(logits=logits), batch, 1)

    assert total.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, torch.tensor([1])).item())


def test_no_global_stream_is_touched() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()

    losses(objective(), [1, 2])

    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_evaluation_keeps_the_plain_cross_entropy() -> None:
    task: ClassificationTask = tiny_engine.make_task()
    logits = torch.randn(4, 3, dtype=torch.bfloat16)
    outputs, labels = SimpleNamespace(logits=logits), torch.tensor([0, 1, 2, 0])

    total, count = task.loss(outputs, Batch({}, labels, 4, 4))

    assert count == 4
    assert task.logits(outputs).dtype == torch.float32
    expected = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum")
    assert total.item() == pytest.approx(expected.item())
