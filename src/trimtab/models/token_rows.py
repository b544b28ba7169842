"""Embeddings of which only the rows that the data use are trained.

A table of tens of thousands of rows gets a dense gradient in every step, though the training texts use a part of it:
zeroing that gradient, its norm and the optimizer's pass over the table and its moments take a good share of a small
model's step. Here the rows that occur in the training texts are the parameter, and all others stay beside it.

What this changes: a row that no training text has stays as it is, while weight decay on the whole table would shrink
it step by step, though nothing is ever learnt of it. All else is the same: rows in use are updated in every step, those
that a batch lacks too, as momentum and decay want it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_ABSENT = -1


class TokenRows(nn.Embedding):
    """An embedding whose parameter holds the rows in use, `[rows in use, dimensions]`; see `train_rows`.

    The forward pass gives what the whole table would give, for any token. Names of parameters and of the state dict
    are those of `nn.Embedding`; the shape of `weight` is not, so that `whole_tables` has to be called before the model
    is saved for others.
    """

    # The whole table, `[tokens, dimensions]`, of which the rows in use are out of date; for each token the row of
    # `weight` that holds it, or -1, `[tokens]`; and the row that never gets a gradient. Plain attributes: as buffers
    # they would be sent to all processes in every step, and the table would be written into every checkpoint.
    _table: torch.Tensor
    _place: torch.Tensor
    _padding: int | None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The embeddings of token ids, `[…]` → `[…, dimensions]`."""
        place = self._place[input]
        if _all_present(place):
            return functional.embedding(place, self.weight, self._padding)
        trained = functional.embedding(place.clamp(min=0), self.weight, self._padding)
        others = functional.embedding(input, self._table).to(trained.dtype)
        return torch.where((place != _ABSENT).unsqueeze(-1), trained, others)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> TokenRows:
        """Move or convert the table as the parameters are."""
        super()._apply(fn, recurse)
        self._table, self._place = fn(self._table), fn(self._place)
        return self


def can_train_rows(model: nn.Module, embedding: Any) -> bool:
    """Whether `train_rows` can take an embedding: a plain one, with a table of its own, that scales nothing.

    A table that another layer shares (an output layer tied to it) has to stay whole, and so has one that is no
    `nn.Embedding` by its exact class.
    """
    if type(embedding) is not nn.Embedding or embedding.max_norm is not None:
        return False
    if embedding.scale_grad_by_freq or embedding.sparse:
        return False
    names = [1 for _, parameter in model.named_parameters(remove_duplicate=False) if parameter is embedding.weight]
    return len(names) == 1


def train_rows(embedding: nn.Embedding, used: torch.Tensor) -> None:
    """Leave only the rows in use to be trained; `whole_tables` undoes it.

    The module keeps its identity and its place; its `weight` becomes a new parameter. Call it before an optimizer is
    built, with the weights in place and on the device that trains: a checkpoint of the model holds the rows in use
    only, so that it can be restored where the same rows are in use, over the same pretrained table.

    Args:
        embedding: of which `can_train_rows`.
        used: ids of the tokens in use, `[rows in use]`, ascending.
    """
    table = embedding.weight.detach()
    place = torch.full((len(table),), _ABSENT, dtype=torch.long, device=table.device)
    place[used] = torch.arange(len(used), device=table.device)
    padding = None if embedding.padding_idx is None else int(place[embedding.padding_idx])
    trains = embedding.weight.requires_grad
    embedding.__class__ = TokenRows
    # A row of padding that is not in use has no gradient anyway.
    embedding.__dict__.update(_table=table, _place=place, _padding=None if padding == _ABSENT else padding)
    embedding.weight = nn.Parameter(table[used], requires_grad=trains)


def whole_tables(model: nn.Module) -> int:
    """Put trained rows back into their tables, and make every `TokenRows` a plain embedding; return how many.

    `weight` becomes a new parameter under its old name, with the whole table.
    """
    found: list[nn.Embedding] = [module for module in model.modules() if isinstance(module, TokenRows)]
    for module in found:
        table, place, _ = (module.__dict__.pop(name) for name in ("_table", "_place", "_padding"))
        used = torch.nonzero(place != _ABSENT).squeeze(-1)
        table[used] = module.weight.detach().to(table)
        trains = module.weight.requires_grad
        module.__class__ = nn.Embedding
        module.weight = nn.Parameter(table, requires_grad=trains)
    return len(found)


def _all_present(place: torch.Tensor) -> bool:
    """Whether every token is in use, as in training; not asked where the answer would have to be waited for."""
    return place.device.type == "cpu" and not torch.compiler.is_compiling() and bool((place != _ABSENT).all())
