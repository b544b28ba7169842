"""Scores of parameters: how much each matters to the loss, measured on training rows before training begins.

Three measures, all taken at the weights that the model has now:

- `fisher`: mean over rows of the squared gradient of a single row's loss, the diagonal of the empirical Fisher
  information. It takes the true labels, where the Fisher information proper takes labels drawn from the model's own
  predictions (Kunstner et al. 2019, arXiv 1905.12558, on how the two differ).
- `gradient_weight`: |mean gradient × weight|, the first-order change of the loss when the weight becomes zero
  (Molchanov et al. 2017, arXiv 1611.06440).
- `movement`: −mean gradient × weight, large where a gradient step drives the weight away from zero. Sanh et al. (2020,
  arXiv 2005.07683) sum this over the steps of a training that also learns the mask; here it is measured once, before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from trimtab.core.errors import NonFiniteError, OutOfMemoryError, RecipeError
from trimtab.core.seeds import stream, stream_seed
from trimtab.data.batching import cut_by_budget
from trimtab.strategies.base import ScoreRequest
from trimtab.tasks.base import Examples, Task
from trimtab.training.memory import is_out_of_memory, release_memory
from trimtab.training.objective import Objective, TaskObjective

Gradients = tuple[torch.Tensor, ...]


def measure_scores(
    model: nn.Module,
    loss: Objective | Task,
    examples: Examples,
    request: ScoreRequest,
    *,
    device: torch.device,
    seed: int,
    token_budget: int,
    accelerator: Accelerator | None = None,
) -> dict[str, torch.Tensor]:
    """Score every parameter of `model` on a sample of training rows.

    Dropout is off and arithmetic is float32. Gradients, what trains, buffers, modes and random states are afterwards
    as they were before.

    Args:
        model: the bare model, on `device`; also parameters that are frozen now get a score.
        loss: the loss to be trained with, or the task whose own loss it is.
        examples: labelled training rows.
        request: the measure, the number of rows (all, where there are fewer) and whether each element has a score.
        device: where the model is.
        seed: the run's seed; rows are drawn from its stream `scores`.
        token_budget: most tokens that pass through at once, padding included; halved where memory does not hold them.
            The Fisher information passes rows one by one.
        accelerator: where several processes call this together, they share the rows and all get the same scores.

    Returns:
        Parameter name -> scores on the CPU, float32: of the parameter's shape, or its mean alone (`[]`).

    Raises:
        RecipeError: the sample is empty.
        NonFiniteError: a score is NaN or infinite.
        OutOfMemoryError: a single row does not fit the device.
    """
    rows = sample_rows(examples, request.rows, seed)
    if not len(rows):
        raise RecipeError(
            f"Parameters cannot be scored ({request.measure}) on an empty sample: {request.rows} rows wanted, "
            f"{len(examples)} there.",
            remedy="Ask for at least one row, and give training rows with labels.",
        )
    objective = TaskObjective(loss) if isinstance(loss, Task) else loss
    with undisturbed(model, device, stream_seed(seed, "score dropout")):
        parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        pieces = [rows[at : at + 1] for at in range(len(rows))]
        if request.measure != "fisher":
            pieces = cut_by_budget(rows, examples.lengths, token_budget)

        def gradients(piece: np.ndarray) -> tuple[Gradients, int]:
            return _gradients(model, objective, examples, piece, list(parameters.values()), device)

        square = request.measure == "fisher"
        sums, weight = accumulate(gradients, pieces, list(parameters.values()), square=square, accelerator=accelerator)
        means = torch._foreach_div(sums, float(len(rows) if square else weight))
        scores = {
            name: _score(request, mean, value.detach())
            for (name, value), mean in zip(parameters.items(), means, strict=True)
        }
    return _finite(scores, request.measure)


def sample_rows(examples: Examples, count: int, seed: int) -> np.ndarray:
    """Up to `count` rows drawn at random by class, sorted, `[rows]`.

    Each class gives a part in proportion to its rows, and at least one row while there is room. Rows without classes
    (labels that are no integers, or none) are drawn from all alike.
    """
    rng = stream(seed, "scores")
    order = rng.permutation(len(examples))
    labels = examples.labels
    classes = labels[order] if labels is not None and labels.ndim == 1 and labels.dtype.kind in "iu" else order * 0
    # Its place within its class, as a share: the smallest shares take of each class the same part.
    place = np.zeros(len(order))
    for name in np.unique(classes):
        members = np.flatnonzero(classes == name)
        place[members] = np.arange(len(members)) / len(members)
    return np.sort(order[np.argsort(place, kind="stable")[: max(0, count)]])


def accumulate(
    gradients: Callable[[np.ndarray], tuple[Gradients, int]],
    pieces: list[np.ndarray],
    parameters: list[nn.Parameter],
    *,
    square: bool,
    accelerator: Accelerator | None = None,
) -> tuple[list[torch.Tensor], int]:
    """Sum the gradients of pieces of rows, or their squares, over all processes.

    Args:
        gradients: gives the gradients of a piece's summed loss, one a parameter, and the loss's weight.
        pieces: row indices of each piece; processes share the pieces.
        parameters: what the gradients are of.
        square: sum squares.
        accelerator: the processes; one alone when None.

    Returns:
        The sums, float32, in the order of the parameters, and the summed weight.

    Raises:
        OutOfMemoryError: a single row does not fit the device.
    """
    sums = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in parameters]
    total = 0
    first, every = (accelerator.process_index, accelerator.num_processes) if accelerator is not None else (0, 1)
    waiting = pieces[first::every][::-1]
    while waiting:
        piece = waiting.pop()
        try:
            found, weight = gradients(piece)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(piece) == 1:
                raise OutOfMemoryError(
                    "The device's memory does not hold the gradient of a single row.",
                    remedy="Try a smaller task.max_length or a smaller model.",
                ) from error
            found = None
        if found is None:
            release_memory()
            waiting.extend([piece[len(piece) // 2 :], piece[: len(piece) // 2]])
            continue
        if square:
            torch._foreach_addcmul_(sums, found, found)
        else:
            torch._foreach_add_(sums, found)
        total += weight
    if every > 1 and accelerator is not None:
        sums = [accelerator.reduce(value, reduction="sum") for value in sums]
        total = int(accelerator.reduce(torch.tensor(total, device=accelerator.device), reduction="sum"))
    return sums, total


@contextmanager
def undisturbed(model: nn.Module, device: torch.device, seed: int) -> Iterator[None]:
    """Evaluation mode, float32, and a gradient of every parameter; afterwards the model is as it was.

    Modes, what trains, buffers and torch's random states are put back; `.grad` is not touched as long as gradients are
    taken by `torch.autograd.grad`.

    Args:
        model: the bare model.
        device: where it is.
        seed: seed of torch's random stream within.
    """
    modes = [(module, module.training) for module in model.modules()]
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [(module, name, value, value.clone()) for module, name, value in _buffers(model)]
    try:
        model.eval()
        for parameter, _ in trained:
            parameter.requires_grad_(parameter.is_floating_point())
        with own_random_stream(device, seed), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, wanted in trained:
            parameter.requires_grad_(wanted)
        for module, name, value, before in buffers:
            module._buffers[name] = value.copy_(before)


@contextmanager
def own_random_stream(device: torch.device, seed: int) -> Iterator[None]:
    """Let torch draw from the stream of `seed` within, and put its random states back afterwards."""
    if device.type == "cpu":
        fork = torch.random.fork_rng(devices=[])
    else:
        index = torch.accelerator.current_device_index() if device.index is None else device.index
        fork = torch.random.fork_rng(devices=[index], device_type=device.type)
    with fork:
        torch.manual_seed(seed)
        yield


def _buffers(model: nn.Module) -> Iterator[tuple[nn.Module, str, torch.Tensor]]:
    for module in model.modules():
        for name, value in module._buffers.items():
            if value is not None:
                yield module, name, value


def _gradients(
    model: nn.Module,
    objective: Objective,
    examples: Examples,
    rows: np.ndarray,
    parameters: list[nn.Parameter],
    device: torch.device,
) -> tuple[Gradients, int]:
    """Gradients of the summed loss of `rows`; zeros for a parameter that the loss does not reach."""
    batch = examples.collate(rows).to(device)
    total, weight = objective.loss(lambda inputs: model(**inputs), batch, 1)
    return torch.autograd.grad(total, parameters, materialize_grads=True), weight


def _score(request: ScoreRequest, mean: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The scores of one parameter from its mean gradient (mean squared gradient for the Fisher information)."""
    if request.measure == "gradient_weight":
        mean = (mean * weight).abs()
    elif request.measure == "movement":
        mean = -mean * weight
    return (mean if request.per_element else mean.mean()).float().cpu()


def _finite(scores: dict[str, torch.Tensor], measure: str) -> dict[str, torch.Tensor]:
    wrong = [name for name, value in scores.items() if not bool(value.isfinite().all())]
    if wrong:
        raise NonFiniteError(
            f"The scores ({measure}) of {len(wrong)} parameters are NaN or infinite, among them those of {wrong[0]}.",
            remedy="Check that the model's weights are finite, and look at the training rows for extreme values.",
        )
    return scores
