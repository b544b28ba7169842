"""One run of the doctor's benchmark, with a fault planted or healthy, and what stays of it.

    python benchmarks/doctor/plant.py --world trec-starter --fault rate-30 --seed 0 --raw DIR

The record (`events.jsonl`, recipe, diagnosis, judgement, rows, data) stays in `DIR/ID`, with `meta.json` beside it;
model and checkpoints are deleted. A run that failed, as some should, is kept as well.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))

from planned import Planned, accepted, planned_run  # noqa: E402
from settings import QUIET  # noqa: E402
from world_data import Frames, draw, write  # noqa: E402
from world_models import model_of  # noqa: E402

LEFT_OUT = ("model", "checkpoints", "soup")


def plant(run: Planned, raw: Path, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Do a run, keep its record in `raw`, and give what `meta.json` says.

    Args:
        run: what to do.
        raw: folder of all runs.
        extra: recipe keys that take precedence.
    """
    import numpy as np
    import torch

    import trimtab
    from trimtab.core.errors import InterruptedRun

    torch.set_num_threads(1)
    target = raw / run.key
    shutil.rmtree(target, ignore_errors=True)
    frames = draw(run.world.data, run.rows, run.seed)
    if run.fault is not None and run.fault.change is not None:
        frames = run.fault.change(frames, np.random.default_rng([run.seed, 11]))
    began, worked, failure = time.perf_counter(), time.process_time(), None
    with tempfile.TemporaryDirectory(prefix="trimtab-doctor-") as folder, ExitStack() as stack:
        os.environ["TRIMTAB_CACHE"] = f"{folder}/cache"
        settings = {**_settings(run, frames), **(extra or {}), "data.path": str(write(frames, Path(folder) / "data"))}
        clock = _clock(run, frames, settings)
        if run.fault is not None and run.fault.patch is not None:
            stack.enter_context(run.fault.patch(clock))
        try:
            trimtab.train(settings={**settings, "output": str(target)}, on_event=clock)
        except InterruptedRun:
            # Somebody stopped the benchmark: the run is no result.
            raise
        except trimtab.TrimtabError as error:
            failure = f"{type(error).__name__}: {error}"
    for name in LEFT_OUT:
        shutil.rmtree(target / name, ignore_errors=True)
    meta = {
        **run.to_dict(),
        "also": sorted(accepted(run)),
        "planted_step": None if run.fault is None else clock.planted or math.floor(run.fault.share * clock.total_steps),
        "total_steps": clock.total_steps,
        "failure": failure,
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - worked, 1),
    }
    target.mkdir(parents=True, exist_ok=True)
    (target / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return meta


def _settings(run: Planned, frames: Frames) -> dict[str, Any]:
    """Recipe keys of a run; a `rate_factor` has become a learning rate."""
    settings = {
        **QUIET,
        "model.name": model_of(run.world.model),
        "data.label": "label",
        "training.num_epochs": run.epochs,
        "training.batch_size": run.batch_size,
        "seed": run.seed,
        **run.settings,
    }
    if "image" in frames["train"]:
        settings.pop("data.label")
    factor = settings.pop("rate_factor", None)
    if factor is not None:
        settings["optimizer.learning_rate"] = float(f"{factor * _usual_rate(settings):.3g}")
    return settings


def _usual_rate(settings: Mapping[str, Any]) -> float:
    """The rate that Trimtab would choose for full fine-tuning."""
    from transformers import AutoConfig

    from trimtab.models.sources import resolve_model
    from trimtab.pipeline.resolve import hidden_size
    from trimtab.strategies.base import full_learning_rate

    location = resolve_model(str(settings["model.name"])).location
    return full_learning_rate(hidden_size(AutoConfig.from_pretrained(location)))[0]


def _clock(run: Planned, frames: Frames, settings: Mapping[str, Any]) -> Any:
    """The clock of a run, with the number of its steps and the id of the token that marks bad rows."""
    from data_faults import MARK
    from patches import Clock

    per_epoch = math.ceil(len(frames["train"]) / settings["training.batch_size"])
    total = settings["training.num_epochs"] * per_epoch
    total = min(total, settings.get("training.max_steps", total))
    mark = -1
    if run.world.kind == "text":
        from transformers import AutoTokenizer

        from trimtab.models.sources import resolve_model

        location = resolve_model(str(settings["model.name"])).location
        mark = AutoTokenizer.from_pretrained(location).convert_tokens_to_ids(MARK)
    return Clock(total, mark)


def main() -> None:
    """Do the run that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", required=True)
    parser.add_argument("--fault", required=True, help="of faults.py, or healthy-NAME of settings.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", type=Path, required=True)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(json.dumps(plant(planned_run(given.world, given.fault, given.seed), given.raw)))


if __name__ == "__main__":
    main()
