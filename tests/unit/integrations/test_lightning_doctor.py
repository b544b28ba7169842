"""The doctor beside a real Trainer of Lightning."""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import trimtab
from trimtab.core.errors import MissingDependencyError
from trimtab.monitor.reading import open_trace

lightning = pytest.importorskip("lightning.pytorch")


class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
    """A linear classifier; its weights become NaN after `breaks` steps."""

    def __init__(self, breaks: int = 10**9) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
        self.breaks = breaks

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        if self.global_step >= self.breaks:
            with torch.no_grad():
                self.layer.weight.fill_(math.nan)
        return self.loss(batch)[0]

    def validation_step(self, batch: Any, index: int) -> None:
        loss, right = self.loss(batch)
        self.log("val_loss", loss)
        self.log("val_acc", right)

    def loss(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, labels = batch
        logits = self.layer(inputs)
        return torch.nn.functional.cross_entropy(logits, labels), (logits.argmax(-1) == labels).float().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(count: int, *, seed: int = 0, shuffle: bool = False) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 4, generator=generator)
    return DataLoader(TensorDataset(inputs, (inputs[:, 0] > 0).long()), batch_size=8, shuffle=shuffle)


def fit(folder: Path, callback: Any, module: Module | None = None, **settings: Any) -> Any:
    torch.manual_seed(0)
    known = {"max_epochs": 3, "accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(default_root_dir=folder, callbacks=[callback], **{**known, **quiet, **settings})
        trainer.fit(module or Module(), loader(48), loader(24, seed=1))
    return trainer


def test_losses_rates_norms_and_metrics(tmp_path: Path) -> None:
    callback = trimtab.LightningDoctor()
    module = Module()
    first = float(module.loss(next(iter(loader(48))))[0].detach())
    fit(tmp_path, callback, module)

    trace = open_trace(tmp_path)
    assert trace.facts.origin == "lightning"
    assert (trace.facts.total_steps, trace.facts.steps_per_epoch, trace.facts.batch_size) == (18, 6, 8)
    assert trace.facts.rows == {"train": 48} and trace.facts.parameters == 10
    assert (trace.facts.metric, trace.facts.learning_rate) == ("accuracy", 0.1)
    assert list(trace.steps) == list(range(1, 19))
    assert trace.column("loss")[0] == pytest.approx(first, rel=1e-5)
    assert (trace.column("learning_rate") == 0.1).all()
    assert (trace.column("grad_norm") > 0).all()
    assert trace.column("epoch")[5] == pytest.approx(1.0)
    # The sanity check before the training is no evaluation of it.
    assert [evaluation.step for evaluation in trace.evaluations] == [6, 12, 18]
    assert all(set(evaluation.values) == {"loss", "accuracy"} for evaluation in trace.evaluations)
    assert trace.evaluations[0].detail == {"rows": 24}
    assert trace.end


def test_a_step_of_several_batches_has_the_mean_of_their_losses(tmp_path: Path) -> None:
    module = Module()
    batches = list(loader(48))[:2]
    mean = sum(float(module.loss(batch)[0].detach()) for batch in batches) / 2
    fit(tmp_path, trimtab.LightningDoctor(), module, accumulate_grad_batches=2)
    trace = open_trace(tmp_path)
    assert list(trace.steps) == list(range(1, 10))
    assert trace.column("loss")[0] == pytest.approx(mean, rel=1e-5)
    assert (trace.facts.batch_size, trace.facts.steps_per_epoch) == (16, 3)


def test_weights_that_become_nan_end_the_training_where_that_is_wanted(tmp_path: Path) -> None:
    callback = trimtab.LightningDoctor(stop_on_act=True)
    trainer = fit(tmp_path, callback, Module(breaks=7), max_epochs=20)
    assert trainer.global_step < 40
    found = {finding.name: finding for finding in callback.findings}
    assert (found["divergence"].severity, found["divergence"].since) == ("act", 8)


def test_a_validation_outside_a_training_is_not_recorded(tmp_path: Path) -> None:
    callback = trimtab.LightningDoctor()
    trainer = fit(tmp_path, callback)
    trainer.validate(Module(), loader(24), verbose=False)
    assert len(open_trace(tmp_path).evaluations) == 3


def test_nothing_is_written_where_that_is_not_wanted(tmp_path: Path) -> None:
    fit(tmp_path, trimtab.LightningDoctor(write=False))
    assert list(tmp_path.iterdir()) == []


def test_without_lightning_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import trimtab.integrations.lightning as module

    monkeypatch.setattr(module, "_Callback", object)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(MissingDependencyError, match="diagnose a run of Lightning") as caught:
        module.LightningDoctor()
    assert "trimtab[lightning]" in caught.value.remedy
