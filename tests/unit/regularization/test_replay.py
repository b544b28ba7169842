"""Replay: the gradient that it adds, where its randomness comes from, and that a resumed run goes on the same way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_engine
import tiny_forgetting
import torch

from trimtab.config.forgetting import ForgettingSection
from trimtab.core.errors import RecipeError
from trimtab.core.seeds import stream, stream_seed
from trimtab.models.language_heads import language_model_loss, mask_tokens
from trimtab.regularization import replay
from trimtab.regularization.forgetting import ForgettingContext, build_forgetting_hooks, forgetting_notes
from trimtab.regularization.replay import Replay, TextRows


def make_replay(context: ForgettingContext, **fields: Any) -> Replay:
    settings = {"replay": 0.5, "replay_rows": 6, "replay_mask_probability": 0.4, **fields}
    (hook,) = build_forgetting_hooks(ForgettingSection.model_validate(settings), context, {})
    assert isinstance(hook, Replay)
    return hook


def make_context(folder: Path, kind: str, *, dropout: float = 0.0, **fields: Any) -> ForgettingContext:
    return tiny_forgetting.make_context(tiny_forgetting.save(folder / kind, kind, dropout=dropout), **fields)


@pytest.fixture(params=tiny_forgetting.KINDS)
def context(request: pytest.FixtureRequest, tmp_path: Path) -> ForgettingContext:
    return make_context(tmp_path, request.param)


def gradients(context: ForgettingContext) -> dict[str, torch.Tensor]:
    named = context.model.named_parameters()
    return {name: parameter.grad.clone() for name, parameter in named if parameter.grad is not None}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def expected_gradients(context: ForgettingContext, hook: Replay, step: int) -> tuple[dict[str, torch.Tensor], float]:
    """0.5 × the gradient of the mean loss over all rows in one batch, by plain torch."""
    rows = np.sort(stream(context.seed, "replay", step).choice(len(context.examples), size=6, replace=False))
    inputs = context.examples.collate(rows).inputs
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    kind = hook.language.kind
    if kind == "masked":
        special = torch.isin(ids, torch.tensor(context.processor.all_special_ids)) | (mask == 0)
        generator = torch.Generator().manual_seed(stream_seed(context.seed, "replay masks", step))
        ids, labels = mask_tokens(ids, special, context.processor, generator, 0.4)
    else:
        labels = torch.where(mask.bool(), ids, -100)
        labels[:, 0] = -100
    logits = hook.language.model(**{**inputs, "input_ids": ids}).logits
    if kind == "causal":
        logits, labels = logits[:, :-1], labels[:, 1:]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    named = dict(context.model.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: 0.5 * value for name, value in zip(named, found, strict=True) if value is not None}, float(
        loss.detach()
    )


@pytest.mark.parametrize("budget", [2048, 15])
def test_it_adds_the_weighted_gradient_of_the_mean_loss(
    context: ForgettingContext, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "TOKEN_BUDGET", budget)
    hook = make_replay(context)
    expected, loss = expected_gradients(context, hook, step=3)
    first = context.blocks.body[0].parameters[0]
    context.model.get_parameter(first).grad = torch.ones_like(context.model.get_parameter(first))

    values = hook.after_backward(3)

    found = gradients(context)
    found[first] -= 1
    assert values["replay_loss"] == pytest.approx(loss, rel=1e-5)
    assert len(expected) > 20
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-6)
    assert all(not bool(found[name].any()) for name in set(found) - set(expected))


def test_rows_masks_and_dropout_depend_on_the_step_alone(tmp_path: Path) -> None:
    """Another history of torch's random state changes nothing, and the hook leaves that state alone."""
    context = make_context(tmp_path, "masked", dropout=0.3)
    context.model.train()
    hook = make_replay(context)
    found = []
    for step, seed in [(1, 0), (2, 0), (1, 99)]:
        context.model.zero_grad(set_to_none=True)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        hook.after_backward(step)
        assert torch.equal(torch.get_rng_state(), before)
        found.append(gradients(context))

    assert equal(found[0], found[2])
    assert not equal(found[0], found[1])


def test_dropout_of_the_model_is_on_in_training_mode(tmp_path: Path) -> None:
    context = make_context(tmp_path, "masked", dropout=0.3)
    hook = make_replay(context)
    found = []
    for mode in (True, False):
        context.model.train(mode)
        context.model.zero_grad(set_to_none=True)
        hook.after_backward(1)
        found.append(gradients(context))

    assert not equal(*found)


def test_frozen_weights_get_no_gradient(context: ForgettingContext) -> None:
    upper = set(context.blocks.body[-1].parameters) | set(context.blocks.head.parameters)
    for name, parameter in context.model.named_parameters():
        parameter.requires_grad_(name in upper)

    make_replay(
        context,
    ).after_backward(1)

    assert set(gradients(context)) <= upper
    assert set(context.blocks.body[-1].parameters) <= set(gradients(context))


def test_a_stage_in_which_nothing_trains_below_the_head_adds_nothing(tmp_path: Path) -> None:
    context = make_context(tmp_path, "masked")
    hook = make_replay(context)
    for parameter in context.model.bert.parameters():
        parameter.requires_grad_(False)

    assert hook.after_backward(1) == {}
    assert gradients(context) == {}


@pytest.mark.parametrize("kind", ["masked", "causal"])
def test_a_head_that_came_with_the_checkpoint_stays(tmp_path: Path, kind: str) -> None:
    context = make_context(tmp_path, kind)
    hook = make_replay(context)
    head = {name: value.clone() for name, value in hook.language.head_parameters.items()}
    table = context.model.get_input_embeddings().weight.clone()

    tiny_forgetting.Run(context, (hook,)).steps(3)

    assert not hook.language.fresh
    assert hook.tensors() == {}
    assert forgetting_notes((hook,)) == ()
    assert equal(head, hook.language.head_parameters)
    assert not torch.equal(table, context.model.get_input_embeddings().weight)
    assert hook.language.backbone is context.model.base_model


def test_a_new_head_is_learned_along(tmp_path: Path) -> None:
    context = make_context(tmp_path, "headless")
    hook = make_replay(context, replay_rows=24)
    before = {name: value.detach().clone() for name, value in hook.language.head_parameters.items()}

    run = tiny_forgetting.Run(context, (hook,))
    first = run.steps(1)["replay_loss"]
    last = np.mean([run.steps(1)["replay_loss"] for _ in range(40)][-5:])

    assert hook.language.fresh
    assert len(forgetting_notes((hook,))) == 1
    assert all(not torch.equal(before[name], value) for name, value in hook.language.head_parameters.items())
    assert last < 0.9 * first
    # The task's optimizer knows nothing of the head, and the head's gradient does not add up over steps.
    hook.after_backward(50)
    one = {name: value.grad.clone() for name, value in hook.language.head_parameters.items()}
    hook.after_backward(50)
    assert all(torch.equal(one[name], value.grad) for name, value in hook.language.head_parameters.items())


def test_a_new_head_starts_the_same_and_leaves_the_random_state_alone(tmp_path: Path) -> None:
    context = make_context(tmp_path, "headless")
    heads = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        heads.append(make_replay(context).language.head_parameters)
        assert torch.equal(torch.get_rng_state(), before)

    assert equal(*heads)


@pytest.mark.parametrize("kind", tiny_forgetting.KINDS)
def test_a_resumed_run_goes_on_bit_for_bit(tmp_path: Path, kind: str) -> None:
    folder = tiny_forgetting.save(tmp_path / "model", kind)
    context = tiny_forgetting.make_context(folder)
    run = tiny_forgetting.Run(context, (make_replay(context),))
    run.steps(3)
    weights = tiny_engine.weights_of(context.model)
    saved = {name: value.clone() for name, value in run.hooks[0].tensors().items()}
    optimizer = run.optimizer.state_dict()["state"]
    moments = {key: {name: value.clone() for name, value in state.items()} for key, state in optimizer.items()}
    run.steps(3)
    uninterrupted = tiny_engine.weights_of(context.model)
    tensors = {name: value.clone() for name, value in run.hooks[0].tensors().items()}

    again = tiny_forgetting.make_context(folder)
    hook = make_replay(again)
    resumed = tiny_forgetting.Run(again, (hook,))
    again.model.load_state_dict(weights)
    hook.load_tensors(saved)
    resumed.optimizer.load_state_dict({**resumed.optimizer.state_dict(), "state": moments})
    resumed.step = 3
    resumed.steps(3)

    assert tiny_engine.same_weights(tiny_engine.weights_of(again.model), uninterrupted)
    assert equal(hook.tensors(), tensors)
    assert bool(tensors) == (kind == "headless")


def test_a_missing_tensor_is_told(tmp_path: Path) -> None:
    context = make_context(tmp_path, "headless")
    hook = make_replay(context)
    tiny_forgetting.Run(context, (hook,)).steps(1)
    saved = dict(hook.tensors())
    lost = next(name for name in saved if name.endswith("/exp_avg"))
    del saved[lost]

    with pytest.raises(KeyError, match="exp_avg"):
        hook.load_tensors(saved)


def test_a_skipped_step_moves_no_head(tmp_path: Path) -> None:
    context = make_context(tmp_path, "headless")
    hook = make_replay(context)
    before = {name: value.clone() for name, value in hook.tensors().items()}
    hook.after_backward(1)

    assert equal(before, hook.tensors())


@pytest.mark.parametrize("kind", ["masked", "causal"])
def test_replay_keeps_the_language_model(tmp_path: Path, kind: str) -> None:
    """The pretraining loss after training on the task is lower with replay than without, on rows not replayed."""
    context = make_context(tmp_path, kind, rows=30)
    start = tiny_engine.weights_of(context.model)
    held_out = tiny_forgetting.encode(text for text, _ in tiny.labelled_texts(40, seed=5))
    losses = {}
    for weight in (0.0, 4.0):
        context.model.load_state_dict(start)
        measuring = make_replay(context)
        hooks = (make_replay(context, replay=weight, replay_rows=20),) if weight else ()
        tiny_forgetting.Run(context, hooks).steps(40)
        context.model.eval()
        measuring.rows = replay.EncodedRows(held_out)
        measuring.count = 40
        losses[weight] = measuring.after_backward(1000)["replay_loss"]

    assert losses[4.0] < losses[0.0] - 0.1


def test_a_file_of_texts_is_replayed(tmp_path: Path) -> None:
    context = make_context(tmp_path, "headless")
    path = tmp_path / "general.txt"
    path.write_text("thanks thanks thanks\nplease please please\n", encoding="utf-8")
    hook = make_replay(context, replay_text=str(path), replay_rows=100)

    batch = hook.rows.batch(np.array([0, 1]))
    words = {context.processor.convert_tokens_to_ids(word) for word in ("thanks", "please")}

    assert isinstance(hook.rows, TextRows)
    assert hook.count == 2, "no more rows than there are"
    assert set(batch.inputs["input_ids"].flatten().tolist()) == words
    assert hook.after_backward(1)["replay_loss"] > 0


def test_texts_without_a_token_to_predict_add_nothing(tmp_path: Path) -> None:
    """A causal model predicts nothing in texts of one token."""
    context = make_context(tmp_path, "causal")
    path = tmp_path / "general.txt"
    path.write_text("thanks\nplease\n", encoding="utf-8")
    hook = make_replay(context, replay_text=str(path))

    assert hook.after_backward(1) == {}
    assert gradients(context) == {}


def test_a_head_alone_has_nothing_to_keep(context: ForgettingContext) -> None:
    with pytest.raises(RecipeError, match=r"forgetting\.replay has nothing to keep"):
        make_replay(replace(context, trained=frozenset(context.blocks.head.parameters)))


def test_processes_share_the_rows(tmp_path: Path) -> None:
    """The parts of three processes, of which one has fewer rows, sum to what one process adds."""
    context = make_context(tmp_path, "masked")
    hook = make_replay(context, replay_rows=5)
    hook.after_backward(2)
    whole = gradients(context)
    trained = [parameter for parameter in hook.language.model.parameters() if parameter.requires_grad]
    parts = []
    for index in range(3):
        hook.accelerator = SimpleNamespace(device=tiny_forgetting.CPU, process_index=index, num_processes=3)
        parts.append(hook._gradients(trained, 2))

    tokens = sum(count for _, _, count in parts)
    named = {id(value): name for name, value in context.model.named_parameters()}
    for place, parameter in enumerate(trained):
        total = sum(sums[place] for sums, _, _ in parts) * 0.5 / tokens
        torch.testing.assert_close(total, whole[named[id(parameter)]], rtol=1e-3, atol=1e-6)
    assert len({count for _, _, count in parts}) > 1


def test_precision_of_the_run_is_used(tmp_path: Path) -> None:
    context = make_context(tmp_path, "masked")
    exact = make_replay(context).after_backward(1)["replay_loss"]
    rough = make_replay(replace(context, precision="bf16")).after_backward(1)["replay_loss"]

    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.02)
    assert all(value.dtype == torch.float32 for value in gradients(context).values())


def test_the_loss_is_that_of_the_shared_function(tmp_path: Path) -> None:
    context = make_context(tmp_path, "causal")
    hook = make_replay(context, replay_rows=24)
    batch = context.examples.collate(np.arange(len(context.examples)))
    labels = torch.where(batch.inputs["attention_mask"].bool(), batch.inputs["input_ids"], -100)
    labels[:, 0] = -100
    total, tokens = language_model_loss(hook.language.model, "causal", batch.inputs, labels)

    assert hook.after_backward(1)["replay_loss"] == pytest.approx(float(total.detach()) / tokens, rel=1e-5)
