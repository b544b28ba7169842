"""The doctor beside the Trainer of Lightning: `Trainer(..., callbacks=[trimtab.LightningDoctor()])`."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimtab.core.optional import require
from trimtab.integrations.companion import FOLDER, Companion
from trimtab.integrations.described import model_fields, rows_of, split_fields
from trimtab.monitor.findings import Finding
from trimtab.monitor.foreign.names import chosen
from trimtab.monitor.foreign.points import Point

PACKAGES = ("lightning.pytorch", "pytorch_lightning")
# Steps whose losses are fetched from the device together.
FETCHED = 20


def _callback_class() -> Any:
    """The base of callbacks, of the package that is in use already; `object` where neither is installed."""
    for package in sorted(PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(package).Callback
        except ImportError:
            continue
    return object


_Callback: Any = _callback_class()


class LightningDoctor(_Callback):
    """Records losses and metrics, diagnoses at each validation and at the end, and says what is wrong.

    The training loss is what `training_step` returns. Of what the module logs, names such as `val_loss` and `val_acc`
    count as validation; `acc` alone does where there is a validation loss. New findings are told by the logger
    `trimtab`. The record goes to `trimtab_doctor/` in the Trainer's `log_dir`, for `trimtab diagnose`.

    >>> trainer = Trainer(..., callbacks=[trimtab.LightningDoctor()])   # doctest: +SKIP

    Args:
        stop_on_act: end the training when something is found that makes the result wrong (severity `act`).
        write: whether to write the record.

    Raises:
        MissingDependencyError: neither `lightning` nor `pytorch_lightning` is installed.
    """

    def __init__(self, *, stop_on_act: bool = False, write: bool = True) -> None:
        if _Callback is object:
            require("lightning.pytorch", extra="lightning", purpose="diagnose a run of Lightning")
        super().__init__()
        self.stop_on_act = stop_on_act
        self.write = write
        self._companion: Companion | None = None
        self._running = False
        self._losses: list[Any] = []
        self._waiting: list[tuple[int, float, dict[str, Any]]] = []
        self._step = 0
        self._rate = math.nan
        self._norm: Any = math.nan

    @property
    def findings(self) -> list[Finding]:
        """What is the matter at present, the gravest first."""
        return [] if self._companion is None else self._companion.findings

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin the record: a new one, or going on with that of the run that is resumed."""
        place, first = trainer.log_dir, trainer.is_global_zero  # `log_dir` is agreed on by all processes
        folder = Path(place) / FOLDER if self.write and place and first else None
        self._step, self._running = trainer.global_step, True
        self._losses, self._waiting = [], []
        self._companion = Companion(
            _start_fields(trainer, pl_module),
            origin="lightning",
            folder=folder,
            resumed=trainer.global_step > 0,
            quiet=not first,
        )

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Note the rate of the step and the norm of its gradient, before it is clipped."""
        from torch.nn.utils import get_total_norm

        self._rate = max((float(group["lr"]) for group in optimizer.param_groups), default=math.nan)
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        self._norm = get_total_norm(gradients) if gradients else math.nan

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record the loss of a step when its last batch is done."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if self._companion is None:
            return
        if loss is not None:
            self._losses.append(loss.detach() if hasattr(loss, "detach") else loss)
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        epoch = trainer.current_epoch + (batch_idx + 1) / max(1, _finite(trainer.num_training_batches) or 1)
        values = {"losses": self._losses, "grad_norm": self._norm, "learning_rate": self._rate}
        self._waiting.append((self._step, epoch, values))
        self._losses, self._norm = [], math.nan
        if len(self._waiting) >= FETCHED:
            self._flush(trainer)
            self._decide(trainer, self._companion.examine(urgent=True))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Record a validation that is part of the training, and diagnose."""
        if self._companion is None or not self._running or trainer.sanity_checking:
            return
        self._flush(trainer)
        logged = {name: [float(value)] for name, value in trainer.callback_metrics.items() if _is_scalar(value)}
        point = Point(
            max(1, trainer.global_step), float(trainer.current_epoch + 1), rows=rows_of(trainer.val_dataloaders)
        )
        for meaning, values in chosen(logged).items():
            if meaning.part in ("validation", "held_in"):
                point.put(meaning.part, meaning.name, values[0])
        self._companion.add(point)
        self._decide(trainer, self._companion.examine())

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Diagnose for the last time."""
        if self._companion is not None:
            self._flush(trainer)
            self._companion.conclude()
        self._running = False

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Keep what was recorded of a run that fails."""
        if self._companion is not None:
            self._flush(trainer)
            self._companion.examine()

    def _flush(self, trainer: Any) -> None:
        """Fetch the numbers of the steps since the last time, and record them."""
        if self._companion is None:
            return
        accumulated = int(getattr(trainer, "accumulate_grad_batches", 1) or 1)
        for step, epoch, values in self._waiting:
            point = Point(step, epoch)
            losses = [float(loss) for loss in values["losses"]]
            if losses:
                # Lightning gives the loss over the number of batches of a step.
                point.put("train", "loss", sum(losses) / len(losses) * accumulated)
            if values["grad_norm"] is not math.nan:
                point.put("train", "grad_norm", float(values["grad_norm"]))
            if math.isfinite(values["learning_rate"]):
                point.put("train", "learning_rate", values["learning_rate"])
            self._companion.add(point)
        self._waiting = []

    def _decide(self, trainer: Any, new: list[Finding]) -> None:
        """Ask for the end of the training where that is wanted; all processes together."""
        if self.stop_on_act:
            wanted = any(finding.severity == "act" for finding in new)
            if trainer.strategy.reduce_boolean_decision(wanted, all=False):
                trainer.should_stop = True


def _start_fields(trainer: Any, module: Any) -> dict[str, Any]:
    """The fields of the `start` event, those that Lightning knows."""
    total = _finite(trainer.estimated_stepping_batches)
    loader = trainer.train_dataloader
    rows = getattr(loader, "batch_size", None)
    accumulated = int(trainer.accumulate_grad_batches or 1)
    epochs = _finite(trainer.max_epochs)
    batches = _finite(trainer.num_training_batches)
    clips = trainer.gradient_clip_val if trainer.gradient_clip_algorithm != "value" else None
    return {
        "total_steps": int(total) if total and total > 0 else None,
        "num_epochs": epochs if epochs and epochs > 0 else None,
        "steps_per_epoch": math.ceil(batches / accumulated) if batches else None,
        "batch_size": rows * accumulated * trainer.world_size if isinstance(rows, int) else None,
        "max_grad_norm": float(clips) if clips else None,
        "device": str(module.device.type),
        **model_fields(module),
        **split_fields("train", loader),
    }


def _finite(value: Any) -> float | None:
    """`value` as a float; None for infinity and for what is no number."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _is_scalar(value: Any) -> bool:
    return isinstance(value, int | float) or getattr(value, "ndim", 1) == 0
