"""L1, L2 and L2-SP: values by hand, what they leave alone, and how they differ from decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trimtab.core.hooks import StepHook
from trimtab.regularization.penalties import L1Penalty, l2_penalty, l2_sp_penalty


def weight(*values: float, grad: float | None = 1.0) -> nn.Parameter:
    parameter = nn.Parameter(torch.tensor(values))
    parameter.grad = None if grad is None else torch.full_like(parameter, grad)
    return parameter


def test_l1_by_hand_with_subgradient_0_at_0() -> None:
    parameter = weight(2.0, -3.0, 0.0)

    values = L1Penalty([parameter], 0.5).after_backward(1)

    assert values == {"l1": pytest.approx(2.5)}
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [1.5, 0.5, 1.0]


def test_l2_by_hand() -> None:
    parameter = weight(2.0, -3.0, 0.0)

    values = l2_penalty([parameter], 0.5).after_backward(1)

    assert values == {"l2": pytest.approx(0.25 * 13)}
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [2.0, -0.5, 1.0]


def test_l2_sp_pulls_the_pretrained_to_their_start_and_the_head_to_zero() -> None:
    pretrained, head = weight(2.0, 1.0), weight(3.0)
    hook = l2_sp_penalty([pretrained], [head], alpha=0.5, beta=0.1)
    with torch.no_grad():
        pretrained += torch.tensor([1.0, -2.0])

    values = hook.after_backward(1)

    assert values == {"l2_sp": pytest.approx(0.25 * (1 + 4) + 0.05 * 9)}
    assert pretrained.grad is not None and head.grad is not None
    assert pretrained.grad.tolist() == [1.5, 0.0]
    assert head.grad.tolist() == [pytest.approx(1.3)]


def test_l2_sp_leaves_the_gradient_alone_bit_for_bit_where_nothing_moved() -> None:
    """(g + α·w) − α·w⁰ would not."""
    parameter = nn.Parameter(torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 100)
    gradient = torch.randn(1000, generator=torch.Generator().manual_seed(1)) * 1e-4
    parameter.grad = gradient.clone()

    values = l2_sp_penalty([parameter], [], alpha=0.3, beta=0.0).after_backward(1)

    assert torch.equal(parameter.grad, gradient)
    assert values == {"l2_sp": 0.0}


@pytest.mark.parametrize(
    "make",
    [
        lambda ps: L1Penalty(ps, 0.5),
        lambda ps: l2_penalty(ps, 0.5),
        lambda ps: l2_sp_penalty([], ps, 0.5, 0.5),
    ],
    ids=["l1", "l2", "l2_sp"],
)
def test_parameters_without_a_gradient_are_left_out(make: object) -> None:
    trains, frozen = weight(1.0), weight(4.0, grad=None)

    both: StepHook = make([trains, frozen])  # type: ignore[operator]
    alone: StepHook = make([weight(1.0)])  # type: ignore[operator]

    assert both.after_backward(1) == alone.after_backward(1)
    assert frozen.grad is None
    assert frozen.item() == 4.0
    none: StepHook = make([frozen])  # type: ignore[operator]
    assert next(iter(none.after_backward(1).values())) == 0.0


def update(optimizer: str, *, penalty: float, decay: float, gradients: tuple[float, float]) -> list[float]:
    """How far one step moves two weights of 1 whose gradients differ."""
    parameter = nn.Parameter(torch.ones(2))
    made: torch.optim.Optimizer = (
        torch.optim.SGD([parameter], lr=0.1)
        if optimizer == "sgd"
        else torch.optim.AdamW([parameter], lr=0.1, weight_decay=decay)
    )
    parameter.grad = torch.tensor(gradients)
    l2_penalty([parameter], penalty).after_backward(1)
    made.step()
    return [1 - value for value in parameter.tolist()]


def test_penalty_is_decay_for_sgd_but_not_for_adam() -> None:
    gradients = (0.1, 10.0)
    plain = update("sgd", penalty=0.0, decay=0.0, gradients=gradients)
    with_penalty = update("sgd", penalty=0.5, decay=0.0, gradients=gradients)
    assert [after - before for after, before in zip(with_penalty, plain, strict=True)] == pytest.approx([0.05, 0.05])

    plain = update("adamw", penalty=0.0, decay=0.0, gradients=gradients)
    decayed = update("adamw", penalty=0.0, decay=0.5, gradients=gradients)
    with_penalty = update("adamw", penalty=0.5, decay=0.0, gradients=gradients)
    assert [after - before for after, before in zip(decayed, plain, strict=True)] == pytest.approx(
        [0.05, 0.05], abs=1e-6
    )
    # Adam divides the sum of both gradients by its own size: in the first step the penalty moves nothing.
    assert with_penalty == pytest.approx(plain, abs=1e-6)


def test_no_tensor_goes_into_a_checkpoint() -> None:
    assert l2_sp_penalty([weight(1.0)], [], 0.1, 0.0).tensors() == {}
