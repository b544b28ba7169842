"""Whether a run trains only those rows of the token embeddings that its training texts use."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from trimtab.models.token_rows import can_train_rows, train_rows
from trimtab.pipeline.parts import Parts
from trimtab.regularization.criteria import CriterionObjective
from trimtab.tasks.base import Examples
from trimtab.training.objective import TaskObjective

# Tables with fewer rows cost little, and so does one of which most rows are in use.
FEWEST_ROWS = 1000
MOST_IN_USE = 0.7

# Optimizers that treat each element by itself, so that leaving out rows without a gradient changes no other row. Not
# among them: Adafactor (means over rows and the whole table) and states of 8 bits (scaled by blocks).
ELEMENTWISE = frozenset({"adamw", "adam", "sgd", "lion", "schedule_free_adamw", "schedule_free_sgd"})


def train_rows_in_use(parts: Parts) -> dict[str, Any] | None:
    """Leave of the token embeddings the rows in use to be trained, where that changes nothing else.

    A function of the recipe, the model and the training rows alone, so that a resumed run does the same. Call it after
    the rehearsal and before the optimizer is built; `models.token_rows.whole_tables` puts the table together again
    before the model is delivered. The plan, the blocks and all names stay as they are.

    Args:
        parts: ready to train; the model is changed in place.

    Returns:
        `tensor`, `rows` in use and `of`, the rows of the table; None where the table stays whole.
    """
    embedding = _embedding(parts.model)
    if embedding is None or not can_train_rows(parts.model, embedding) or not _fits(parts):
        return None
    name = next(name for name, parameter in parts.model.named_parameters() if parameter is embedding.weight)
    used = _rows_in_use(parts, len(embedding.weight))
    total = len(embedding.weight)
    if used is None or name not in parts.plan.trained or total <= FEWEST_ROWS or len(used) >= MOST_IN_USE * total:
        return None
    train_rows(embedding, torch.from_numpy(used).to(embedding.weight.device))
    return {"tensor": name, "rows": len(used), "of": total}


def _fits(parts: Parts) -> bool:
    """Whether nothing in the run looks at the table as a whole, or shows the model other texts than the training rows.

    Penalties, masks, averages and all else that takes part in a step are hooks; objectives beside the task's own read
    further texts or mix embeddings.
    """
    recipe, examples = parts.recipe, parts.examples["train"]
    config: Any = getattr(parts.model, "config", None)
    return (
        recipe.optimizer.name in ELEMENTWISE
        and recipe.training.sharding == "none"
        and not recipe.augmentation.text_operations
        and type(examples).at_epoch is Examples.at_epoch
        and type(parts.objective) in (TaskObjective, CriterionObjective)
        and not (any(not hook.watches_only for hook in parts.hooks) or parts.plan.masks or parts.plan.stages)
        and parts.loaded.new_rows is None
        # Of an architecture that is not known, who could say what else reads the table; a decoder reads other tokens.
        and not parts.loaded.blocks.inferred
        and not getattr(config, "is_encoder_decoder", False)
    )


def _embedding(model: nn.Module) -> Any:
    """The module that embeds tokens; None for images, and where the model does not say."""
    find = getattr(model, "get_input_embeddings", None)
    if find is None or getattr(model, "main_input_name", "") != "input_ids":
        return None
    try:
        return find()
    except NotImplementedError:
        return None


def _rows_in_use(parts: Parts, total: int) -> np.ndarray | None:
    """Ids of the tokens that the training rows and their padding have, ascending; None where they are not known."""
    examples: Any = parts.examples["train"]
    ids = getattr(examples, "ids", {}).get("input_ids")
    if ids is None or not len(ids):
        return None
    padding = (examples.padding.get("input_ids"), getattr(parts.model.config, "pad_token_id", None))
    extra = [token for token in padding if token is not None]
    if not 0 <= min(int(ids.min()), *extra) <= max(int(ids.max()), *extra) < total:
        return None
    used = np.zeros(total, dtype=bool)
    used[ids] = True
    used[extra] = True
    return np.flatnonzero(used)
