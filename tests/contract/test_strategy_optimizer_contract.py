"""Every strategy with every optimizer: it trains, resumes in mid-run to the same bits, and is delivered as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import tiny
import tiny_engine
import torch
from transformers import AutoModelForSequenceClassification

from trimtab.config.optimization import SCHEDULE_FREE, OptimizerSection
from trimtab.core.registry import STRATEGIES
from trimtab.core.seeds import seed_torch
from trimtab.models.blocks import map_blocks
from trimtab.strategies.base import Strategy
from trimtab.training.checkpoints import CheckpointStore, random_states, restore
from trimtab.training.engine import Engine
from trimtab.training.masks import FrozenElements
from trimtab.training.optimizers import auto_rate_factor, use_evaluation_weights
from trimtab.training.scores import measure_scores

OPTIMIZERS = get_args(OptimizerSection.model_fields["name"].annotation)
NAMES = [name for name in STRATEGIES.names() if not STRATEGIES.get(name).stands_for_another]
ROWS, EPOCHS, STOP_AFTER = 24, 3, 5  # 3 steps an epoch, 9 in all
RATE = 5e-3


def make_engine(strategy: Strategy, optimizer: str) -> tuple[Engine, Any]:
    """An engine over a BERT that the strategy has adapted and planned for; and the model itself."""
    schedule = {"name": "constant" if optimizer in SCHEDULE_FREE else "linear"}
    rate = RATE * auto_rate_factor(optimizer)[0]
    recipe = tiny_engine.make_recipe(
        training={"num_epochs": EPOCHS}, optimizer={"name": optimizer, "learning_rate": rate}, schedule=schedule
    )
    examples = tiny_engine.make_examples(ROWS)
    model = tiny_engine.make_model(dropout=0.1)
    seed_torch(0, "adapters")
    adapted, blocks = strategy.adapt(model, map_blocks(model))
    request = strategy.scores_wanted()
    scores = None
    if request is not None:
        scores = measure_scores(
            adapted,
            tiny_engine.make_task(),
            examples,
            request,
            device=torch.device("cpu"),
            seed=0,
            token_budget=8192,
        )
    plan = strategy.plan(blocks, rate, scores)
    hooks = (*plan.hooks, *((FrozenElements(adapted, plan.masks),) if plan.masks else ()))
    engine = tiny_engine.make_engine(adapted, examples, recipe, plan, blocks=blocks, hooks=hooks)
    seed_torch(0, "dropout")
    return engine, adapted


def make_strategy(name: str) -> Strategy:
    strategy_class = STRATEGIES.get(name)
    return strategy_class(strategy_class.Options())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NAMES)
def test_it_trains_and_resumes_to_the_same_bits(name: str, optimizer: str, tmp_path: Path) -> None:
    strategy = make_strategy(name)
    whole, model = make_engine(strategy, optimizer)
    before = tiny_engine.weights_of(model)
    losses = [record.loss for record in whole.steps()]
    moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    buffers = {key for key, _ in model.named_buffers()}

    assert len(losses) == 9 and all(losses)
    assert set(whole.plan.groups[0].parameters) & moved or set(whole.plan.groups[-1].parameters) & moved
    trained = whole.plan.trained
    assert moved - buffers <= trained, "something moved that the plan froze"

    first, model = make_engine(strategy, optimizer)
    steps = first.steps()
    for _ in range(STOP_AFTER):
        next(steps)
    store = CheckpointStore(tmp_path / "checkpoints", keep_last=1)
    checkpoint = store.save(model, first.optimizer, first.progress, random_states(), first.hooks)

    second, model = make_engine(strategy, optimizer)
    torch.manual_seed(12345)
    progress = restore(checkpoint, model, second.optimizer, hooks=second.hooks)
    resumed = Engine(**{**{key: getattr(second, key) for key in second.__dataclass_fields__}, "progress": progress})
    rest = [record.loss for record in resumed.steps()]

    assert rest == losses[STOP_AFTER:]
    assert tiny_engine.same_weights(tiny_engine.weights_of(whole.model), tiny_engine.weights_of(model))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_delivered_as_it_was_trained(name: str, tmp_path: Path) -> None:
    strategy = make_strategy(name)
    engine, model = make_engine(strategy, "adamw")
    for _ in engine.steps():
        pass
    use_evaluation_weights(engine.optimizer)
    model.eval()
    batch = tiny_engine.make_examples(8).collate(torch.arange(8).numpy())
    with torch.no_grad():
        trained = model(**batch.inputs).logits
        plain = strategy.merged(model)
        if plain is None:
            strategy.save_adapter(model, tmp_path / "adapter")
            assert (tmp_path / "adapter" / "adapter_config.json").is_file()
            return
        tiny.save_tiny(tmp_path / "model", plain)
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
        assert (again(**batch.inputs).logits - trained).abs().max() < 1e-4
    assert {key for key, _ in again.named_parameters()} == {
        key for key, _ in tiny_engine.make_model().named_parameters()
    }
