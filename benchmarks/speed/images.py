"""Images with MobileNetV2 beside the HF Trainer with the same processor: photos of ants and bees, and CIFAR-10.

python benchmarks/speed/images.py --output docs/benchmarks.md --record
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from harness import Benchmark, Cases, Results, Sizes, Variant, command_line
from jobs import DATA, REPOSITORY
from runs import HF, OURS, SECOND_RUN
from tables import accuracy_notes, timing_ratios, timing_table

WORK = Path(tempfile.gettempdir()) / "trimtab-benchmarks"
REFERENCES = {"hf": "HF defaults", "hf-memory": "HF, decoded once", "hf-best": "HF, decoded once, bf16"}
# Strategy -> blocks that train in the HF Trainer (None: all), learning rate.
STRATEGIES: dict[str, tuple[int | None, float]] = {"full": (None, 2e-4), "head": (0, 1e-3)}
TEST_IMAGES_A_CLASS = 20

ABOUT = """\
## Speed: images

Made by `python benchmarks/speed/images.py`; do not edit by hand. MobileNetV2 with ImageNet weights, {epochs} epochs in
batches of 32, everything trained or the head alone: *hymenoptera* (photos of ants and bees; 15 % of the training photos
are held out) and {rows:,} images of *cifar10* (32 × 32, enlarged to 224 × 224 by the processor). The HF Trainer has the
same processor, in a data set that opens and processes an image at each access, as is usual, or in one that has done so
once, beforehand (outside of its training phase). Trimtab finds its cache empty, and in the second run filled.
"""


def model_directory() -> Path:
    """The converted MobileNetV2, made once."""
    folder = WORK / "mobilenetv2"
    if not (folder / "config.json").exists():
        script = REPOSITORY / "scripts" / "convert_mobilenetv2.py"
        source = DATA / "weights" / "mobilenetv2_imagenet"
        subprocess.run([sys.executable, str(script), str(source), str(folder)], check=True, stdout=sys.stderr)
    return folder


def cifar10(rows: int) -> Path:
    """A folder with so many training images, as many of each class, and 20 test images a class; made once."""
    folder = WORK / f"cifar10-{rows}"
    if (folder / "done").exists():
        return folder
    most = {"train": max(2, rows // 10), "test": TEST_IMAGES_A_CLASS}
    taken: dict[str, int] = {}
    with tarfile.open(DATA / "cifar10_jpeg" / "cifar10_train500_test100.tar") as archive:
        for member in sorted((member for member in archive if member.isfile()), key=lambda member: member.name):
            place = str(Path(member.name).parent)
            split = member.name.split("/")[0]
            if split in most and taken.get(place, 0) < most[split]:
                taken[place] = taken.get(place, 0) + 1
                archive.extract(member, folder, filter="data")
    (folder / "done").touch()
    return folder


def cases(sizes: Sizes, given: argparse.Namespace) -> Cases:
    """Both sets with both strategies; the quick run has the photos and the head alone."""
    sets = {"hymenoptera": DATA / "hymenoptera", "cifar10": None if given.quick else cifar10(sizes.rows)}
    model = str(model_directory())
    found: Cases = {}
    for name, place in sets.items():
        for strategy, (last_blocks, rate) in STRATEGIES.items():
            if place is None or (given.quick and strategy == "full"):
                continue
            settings: dict[str, Any] = {
                "data.path": str(place),
                "data.max_rows": sizes.rows,
                "model.name": model,
                "training.num_epochs": sizes.epochs,
                "training.batch_size": 32,
                "optimizer.learning_rate": rate,
            }
            found[f"{name}, {strategy}"] = _variants(settings, strategy, last_blocks)
    return found


def _variants(settings: dict[str, Any], strategy: str, last_blocks: int | None) -> list[Variant]:
    ours = {**settings, "strategy": "full" if strategy == "full" else {"name": "partial", "last_blocks": 0}}
    peer = {"settings": settings, "last_blocks": last_blocks}
    return [
        Variant("ours", OURS, "runs:trimtab", {"settings": ours}, SECOND_RUN),
        Variant("hf", f"{HF}, decodes at each access", "runs:hf", peer),
        Variant("hf-memory", "HF Trainer, decoded once", "runs:hf", {**peer, "in_memory": True}),
        Variant(
            "hf-best",
            "HF Trainer, decoded once, bf16",
            "runs:hf",
            {**peer, "in_memory": True, "best_flags": True},
        ),
    ]


def table(chosen: Cases, results: Results) -> str:
    """Times, ratios, accuracy."""
    return f"{timing_table(chosen, results, REFERENCES)}\n\n{accuracy_notes(chosen, results)}"


if __name__ == "__main__":
    command_line(
        Benchmark(
            "images",
            ABOUT,
            Sizes(1000, epochs=3),
            Sizes(1000, epochs=2, rounds=1, seeds=1),
            cases,
            table,
            lambda chosen, results: timing_ratios(chosen, results, REFERENCES),
        )
    )
