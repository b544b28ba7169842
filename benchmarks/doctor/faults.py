"""The planted faults: what each does to a run, which finding is right about it, and what else is true of such a run.

A fault is found when one of its `conditions` gives a finding of severity `warning` or more; of a fault from which a run
recovers by itself, `info` is enough. A finding named in `also`
is a true consequence, which counts neither for nor against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import data_faults as rows
import patches
from data_faults import Change
from patches import Patch
from settings import World

# What goes with most runs that learn nothing, or that were blown up.
NOT_LEARNING = frozenset({"underfitting", "class_collapse", "plateau", "class_imbalance"})
BLOWN_UP = NOT_LEARNING | {
    "loss_spikes",
    "exploding_gradients",
    "vanishing_gradients",
    "dead_units",
    "forgetting",
    "learning_rate_too_high",
    "divergence",
    "seed_noise",
}
# What goes with rows that are learnt by heart.
BY_HEART = frozenset({"overfitting", "overconfidence", "class_imbalance", "seed_noise"})


@dataclass(frozen=True)
class Fault:
    """One fault.

    Args:
        name: short.
        conditions: those that should find it; any of them counts.
        severity: what the finding should have at least.
        also: further conditions that are true of such a run.
        change: of the rows.
        settings: recipe keys; `rate_factor` is a factor of the learning rate that the run would have.
        patch: of the process.
        share: share of the run before it sets in; 0 where it is there from the start.
        rows: other numbers of rows than the world's, split -> rows.
        epochs: other than the world's.
        kinds: worlds that it can be planted in, `text` and `image`.
        only_long: whether it wants long texts.
        only: names of the worlds that it can be planted in; all when empty.
    """

    name: str
    conditions: tuple[str, ...]
    severity: str = "warning"
    also: frozenset[str] = frozenset()
    change: Change | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    patch: Patch | None = None
    share: float = 0.0
    rows: Mapping[str, int] = field(default_factory=dict)
    epochs: int | None = None
    kinds: tuple[str, ...] = ("text", "image")
    only_long: bool = False
    only: tuple[str, ...] = ()

    def fits(self, world: World) -> bool:
        """Whether it can be planted in a world."""
        named = not self.only or world.name in self.only
        return named and world.kind in self.kinds and (world.long or not self.only_long)


TEXT = ("text",)
NOISY = NOT_LEARNING | BY_HEART | {"small_validation"}
FROZEN_HEAD = {"strategy.name": "partial", "strategy.last_blocks": 1, "strategy.train_head": False}


def _of_rows() -> tuple[Fault, ...]:
    """Faults in the rows."""
    labels = ("suspect_labels",)
    return (
        Fault("flipped-5", labels, also=NOISY, change=rows.flipped(0.05), epochs=4),
        Fault("flipped-10", labels, also=NOISY, change=rows.flipped(0.10), epochs=4),
        Fault("flipped-20", labels, "act", NOISY, rows.flipped(0.20), epochs=4),
        Fault("flipped-30", labels, "act", NOISY | {"shuffled_labels"}, rows.flipped(0.30), epochs=4),
        Fault("shuffled", ("shuffled_labels",), "act", NOISY | {"suspect_labels"}, rows.shuffled, epochs=4),
        Fault("copied-10", ("leakage",), change=rows.copied(0.10)),
        Fault("copied-30", ("leakage",), "act", change=rows.copied(0.30)),
        Fault("giveaway", ("leakage",), "act", frozenset({"giveaway"}), rows.giveaway, kinds=TEXT),
        Fault("rare-class", ("class_imbalance", "class_collapse"), "warning", NOT_LEARNING, rows.rare_class(0.02)),
        Fault("few-rows", ("overfitting",), "act", BY_HEART | {"small_validation"}, rows.few(60), epochs=20),
        Fault(
            "other-source",
            ("train_validation_shift",),
            # The foreign rows have labels, which mean nothing there.
            also=BY_HEART | NOT_LEARNING | {"shuffled_labels"},
            change=rows.other_source("trec"),
            only=("mr-electra", "diseases-bert2", "tickets-distil", "stereotypes-roberta"),
        ),
        Fault("other-shares", ("train_validation_shift",), also=BY_HEART | NOT_LEARNING, change=rows.other_shares),
        Fault("few-validation", ("small_validation",), also=frozenset({"seed_noise"}), change=rows.few_validation(20)),
        Fault(
            "cut-at-8",
            ("truncated_texts",),
            "act",
            NOISY,
            settings={"task.max_length": 8},
            kinds=TEXT,
            only_long=True,
        ),
    )


def _of_recipe() -> tuple[Fault, ...]:
    """Faults in the recipe."""
    hot = ("learning_rate_too_high", "divergence")
    forgotten = {"retention.measure": True, "rate_factor": 10.0}
    return (
        Fault("rate-30", hot, "act", BLOWN_UP, settings={"rate_factor": 30.0}),
        Fault("rate-100th", ("learning_rate_too_low",), "act", NOT_LEARNING, settings={"rate_factor": 0.01}),
        Fault(
            "frozen-head",
            ("frozen_part",),
            "act",
            NOT_LEARNING | {"learning_rate_too_low"},
            settings=FROZEN_HEAD,
            kinds=TEXT,
        ),
        Fault(
            "few-steps",
            ("underfitting",),
            also=NOT_LEARNING | {"long_warmup"},
            settings={"training.max_steps": 16, "evaluation.every_steps": 8},
        ),
        Fault(
            "head-only",
            ("underfitting",),
            also=NOT_LEARNING | {"learning_rate_too_low"},
            settings={"strategy.name": "partial", "optimizer.learning_rate": 1e-3},
            kinds=TEXT,
        ),
        Fault(
            "long-warmup",
            ("long_warmup",),
            also=NOT_LEARNING | {"learning_rate_too_low"},
            settings={"schedule.warmup_ratio": 1.0},
        ),
        Fault(
            "one-row-batches",
            ("small_batch",),
            also=BLOWN_UP,
            settings={"training.batch_size": 1},
            rows={"train": 240},
            epochs=2,
        ),
        Fault(
            "forgetting",
            ("forgetting",),
            also=BLOWN_UP | BY_HEART,
            settings=forgotten,
            epochs=5,
            kinds=TEXT,
        ),
        Fault(
            "plateau",
            ("plateau",),
            "info",
            also=BY_HEART | {"small_validation", "suspect_labels"},
            settings={"schedule.name": "constant"},
            rows={"train": 160},
            epochs=14,
            kinds=TEXT,
        ),
    )


def _of_process() -> tuple[Fault, ...]:
    """Faults of programs and machines."""
    return (
        Fault("overflow", ("divergence",), "act", BLOWN_UP, patch=patches.overflow, share=0.4),
        Fault(
            "bad-rows",
            ("divergence", "loss_spikes"),
            also=frozenset({"class_imbalance"}),
            change=rows.marked_rows,
            patch=patches.nan_at_mark,
            kinds=TEXT,
        ),
        Fault("spikes", ("loss_spikes",), "info", BLOWN_UP | BY_HEART, patch=patches.spikes(40.0), share=0.5),
        Fault(
            "sorted",
            ("unshuffled_order",),
            also=BLOWN_UP,
            change=rows.sorted_by_label,
            patch=patches.in_order,
            epochs=4,
        ),
        Fault("slow-rows", ("input_starvation",), patch=patches.slow_rows, epochs=2),
        Fault("out-of-memory", ("memory_near_limit",), "info", patch=patches.out_of_memory, share=0.2),
        Fault(
            "vanishing", ("vanishing_gradients",), also=NOT_LEARNING, patch=patches.gradient_by_depth(0.02), kinds=TEXT
        ),
        Fault("exploding", ("exploding_gradients",), also=BLOWN_UP, patch=patches.gradient_by_depth(30.0), kinds=TEXT),
        Fault(
            "dead-units",
            ("dead_units",),
            also=NOT_LEARNING | {"loss_spikes", "forgetting"},
            patch=patches.dead_units,
            share=0.4,
            kinds=TEXT,
        ),
    )


FAULTS = {fault.name: fault for fault in (*_of_rows(), *_of_recipe(), *_of_process())}
WITH_MORE_ROWS = {
    fault.name: fault for fault in (replace(FAULTS["flipped-20"], name="flipped-20-of-1200", rows={"train": 1200}),)
}
"""Faults that the autopilot's benchmark alone plants, for what it does only where there are more rows to tell from."""
