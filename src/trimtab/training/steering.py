"""What can be changed of a run while it runs, without building it anew.

`Progress.steered` says what is changed, and is a part of every checkpoint. `Steering.apply` brings the run in line with
it: after a change, after a change was undone, and after a resume. It always starts from the run as it was built, so
that applying twice is applying once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch.nn.modules.dropout import _DropoutNd

from trimtab.core.errors import TrainingError
from trimtab.models.blocks import Block
from trimtab.strategies.base import ParameterGroup, TrainingPlan
from trimtab.training.engine import Engine
from trimtab.training.optimizers import NO_DECAY
from trimtab.training.prefix import FrozenPrefix
from trimtab.training.records import Steered

# Our choices: what is customary for small sets, short of what hinders learning.
DROPOUT_STEP, MOST_DROPOUT = 0.1, 0.5
DECAY_FACTOR, MOST_DECAY = 10.0, 0.3
# Of the training rows, the share that may be left out at most.
MOST_LEFT_OUT = 0.5

SetWeights = Callable[[list[float] | None], object]


class CannotSteerError(TrainingError):
    """A change that this run does not admit; the text says why."""


@dataclass
class Steering:
    """Applies what `Progress.steered` says to model, optimizer and loop.

    Args:
        engine: the loop, as it was built.
        reserve: groups of frozen blocks that the optimizer holds without training them, by depth, the lowest first.
        set_class_weights: gives each class its weight in the loss, or None for those of the recipe; None where the
            loss knows no classes.
    """

    engine: Engine
    reserve: tuple[ParameterGroup, ...] = ()
    set_class_weights: SetWeights | None = None

    def __post_init__(self) -> None:
        engine = self.engine
        self._plan = engine.plan
        self._dropout = [(module, module.p) for module in engine.model.modules() if isinstance(module, _DropoutNd)]
        groups = [group for group in engine.optimizer.param_groups if not group["name"].endswith(NO_DECAY)]
        self._decay = [(group, float(group["weight_decay"])) for group in groups]
        self._prefixes = [hook for hook in engine.hooks if isinstance(hook, FrozenPrefix)]

    def set(self, steered: Steered) -> None:
        """Change the run from where it stands. A rate alone, which each step looks up, leaves all else untouched."""
        before, self.engine.progress.steered = self._now, steered
        if replace(before, rate_scale=steered.rate_scale) != steered:
            self.apply()

    def apply(self) -> None:
        """Bring the run in line with `progress.steered`."""
        steered = self.engine.progress.steered
        self.engine.plan = self._planned(steered)
        for module, probability in self._dropout:
            # What the recipe raised above the most stays there.
            module.p = max(probability, min(MOST_DROPOUT, probability + steered.more_dropout))
        for group, decay in self._decay:
            group["weight_decay"] = decay if steered.weight_decay is None else steered.weight_decay
        if self.set_class_weights is not None:
            self.set_class_weights(steered.class_weights)
        for prefix in self._prefixes:
            prefix.plan = self.engine.plan
            prefix.enter_stage(self.engine.progress.stage)
        self.engine.renew()

    def changed(self, remedy: str, settings: Mapping[str, Any]) -> Steered:
        """What `progress.steered` would be with a remedy applied.

        Args:
            remedy: name of one of the methods below.
            settings: their arguments.

        Raises:
            CannotSteerError: the run does not admit it.
        """
        steered: Steered = getattr(self, f"_{remedy}")(**settings)
        if steered == self._now:
            raise CannotSteerError("it would change nothing")
        return steered

    @property
    def _now(self) -> Steered:
        return self.engine.progress.steered

    def _scale_rate(self, factor: float) -> Steered:
        return replace(self._now, rate_scale=float(f"{self._now.rate_scale * factor:.6g}"))

    def _leave_out(self, rows: Iterable[int]) -> Steered:
        gone, count = set(self._now.left_out) | set(rows), len(self.engine.examples)
        if not gone <= set(range(count)) or len(gone) > MOST_LEFT_OUT * count:
            raise CannotSteerError(f"{len(gone):,} of {count:,} training rows are too many to be left out")
        return replace(self._now, left_out=sorted(gone))

    def _regularise(self) -> Steered:
        # An optimizer without decay is left without: of SGD it is a part of the gradient, and of Adam rescaled with it.
        decayed = max((decay for _, decay in self._decay), default=0.0)
        if not self._dropout and not decayed:
            raise CannotSteerError("the model has no dropout, and the optimizer no weight decay")
        decay = max(decayed, min(MOST_DECAY, decayed * DECAY_FACTOR)) if decayed else None
        return replace(self._now, more_dropout=DROPOUT_STEP if self._dropout else 0.0, weight_decay=decay)

    def _freeze_lower(self) -> Steered:
        """Embeddings and the lower half of the blocks that train."""
        self._refuse_if_bound()
        blocks, trained = self.engine.blocks, self.engine.plan.trained
        if blocks.shared_layers:
            raise CannotSteerError("the layers of the model share one set of weights")
        body = [block for block in blocks.body if not trained.isdisjoint(block.parameters)]
        lower = [blocks.embeddings, *body[: (len(body) + 1) // 2]]
        names = [block.name for block in lower if not trained.isdisjoint(block.parameters)]
        left = self._without(self.engine.plan, names).groups
        if not names or not left:
            raise CannotSteerError("no lower block trains" if not names else "nothing would train any more")
        return replace(self._now, frozen=[*self._now.frozen, *names])

    def _unfreeze_more(self) -> Steered:
        """The upper half of the frozen blocks, at least one."""
        self._refuse_if_bound()
        frozen = [group.name for group in self.reserve if group.name not in self._now.unfrozen]
        if not frozen:
            raise CannotSteerError("the strategy leaves no whole block frozen that could train")
        return replace(self._now, unfrozen=[*self._now.unfrozen, *frozen[len(frozen) // 2 :]])

    def _balance_classes(self, weights: list[float]) -> Steered:
        if self.set_class_weights is None:
            raise CannotSteerError("the loss of this run takes no class weights")
        return replace(self._now, class_weights=weights)

    def _refuse_if_bound(self) -> None:
        if self._plan.stages:
            raise CannotSteerError("the strategy goes through stages, which say what trains")
        if self._plan.masks:
            raise CannotSteerError("the strategy trains single elements of the weights")

    def _planned(self, steered: Steered) -> TrainingPlan:
        added = tuple(group for group in self.reserve if group.name in steered.unfrozen)
        plan = replace(self._plan, groups=(*self._plan.groups, *added)) if added else self._plan
        return self._without(plan, steered.frozen)

    def _without(self, plan: TrainingPlan, names: Iterable[str]) -> TrainingPlan:
        """The plan without the parameters of some blocks."""
        blocks: dict[str, Block] = {block.name: block for block in self.engine.blocks.blocks}
        gone = {parameter for name in names for parameter in blocks[name].parameters}
        if not gone:
            return plan
        left = [
            replace(group, parameters=tuple(name for name in group.parameters if name not in gone))
            for group in plan.groups
        ]
        return replace(plan, groups=tuple(group for group in left if group.parameters))
