"""Rows of the doctor's benchmark: real data sets as one pool each, from which splits without overlap are drawn.

A frame has the column `label` and what the model reads: `text`, or `image` (a file).
"""

from __future__ import annotations

import csv
import json
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

HERE = Path(__file__).resolve().parent
if str(HERE.parent) not in sys.path:
    sys.path.append(str(HERE.parent))

from jobs import DATA, REPOSITORY  # noqa: E402

Frames = dict[str, pd.DataFrame]
OBJECTS = ("airplane", "automobile", "frog", "horse")
"""Classes of CIFAR-10 that a few hundred pictures suffice to tell apart."""
MADE = Path(tempfile.gettempdir()) / "trimtab-benchmarks" / "doctor"


def draw(name: str, rows: Mapping[str, int], seed: int) -> Frames:
    """Splits of a set: rows at random without overlap, the same for the same seed.

    Args:
        name: of a set, a key of `POOLS`.
        rows: split -> rows.
        seed: of the draw.

    Raises:
        ValueError: the set has fewer rows.
    """
    pool = POOLS[name]()
    wanted = sum(rows.values())
    if wanted > len(pool):
        raise ValueError(f"{name} has {len(pool)} rows, and {wanted} are wanted")
    order = np.random.default_rng([seed, 7]).permutation(len(pool))[:wanted]
    parts = np.split(order, np.cumsum(list(rows.values()))[:-1])
    return {split: pool.iloc[part].reset_index(drop=True) for split, part in zip(rows, parts, strict=True)}


def write(frames: Frames, folder: Path) -> Path:
    """Frames as data that `trimtab.train` reads: a CSV file a split, or a folder of links a class."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, frame in frames.items():
        if "image" not in frame:
            frame.to_csv(folder / f"{split}.csv", index=False)
            continue
        for number, (image, label) in enumerate(zip(frame["image"], frame["label"], strict=True)):
            place = folder / split / str(label)
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number:05d}-{Path(image).name}").symlink_to(image)
    return folder


def _texts(frames: list[pd.DataFrame], text: str, label: str) -> pd.DataFrame:
    joined = pd.concat(frames)[[text, label]].set_axis(["text", "label"], axis=1).dropna()
    return joined.drop_duplicates("text").reset_index(drop=True)


@cache
def _trec() -> pd.DataFrame:
    return _texts([pd.read_csv(DATA / "trec" / f"{split}.csv") for split in ("train", "test")], "text", "coarse")


@cache
def _mr() -> pd.DataFrame:
    return _texts([pd.read_csv(DATA / "mr" / "mr.csv")], "text", "label")


@cache
def _tickets() -> pd.DataFrame:
    return _texts([pd.read_csv(REPOSITORY / "examples" / "tickets" / "tickets_en.csv")], "text", "intent")


@cache
def _diseases() -> pd.DataFrame:
    """Sentences of BC5CDR, by whether they name a disease."""
    sentences = []
    for split in ("train", "devel", "test"):
        lines = (DATA / "bc5cdr_ner" / f"{split}.tsv").read_text(encoding="utf-8")
        for block in lines.split("\n\n"):
            pairs = [line.split("\t") for line in block.splitlines() if "\t" in line]
            if 5 <= len(pairs) <= 30:
                named = any(tag.endswith("Disease") for _, tag in pairs)
                sentences.append((" ".join(word for word, _ in pairs), "disease" if named else "none"))
    return _texts([pd.DataFrame(sentences, columns=["text", "label"])], "text", "label")


@cache
def _stereotypes() -> pd.DataFrame:
    """Sentences of CrowS-Pairs, by what the stereotype in them is about; the four commonest, 159 rows of each."""
    rows = _texts([pd.read_csv(DATA / "crows_pairs" / "crows_pairs_anonymized.csv")], "sent_more", "bias_type")
    return _even(rows, 4)


@cache
def _numbers() -> pd.DataFrame:
    """Questions of XQuAD in English, by whether their answer has a digit."""
    articles = json.loads((DATA / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    pairs = [
        (question["question"], "number" if any(map(str.isdigit, question["answers"][0]["text"])) else "words")
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    return _texts([pd.DataFrame(pairs, columns=["text", "label"])], "text", "label")


@cache
def _genres() -> pd.DataFrame:
    """First sentences of STS-B, by where they come from: captions, news or a forum; as many rows of each."""
    file = DATA / "stsb" / "sts-train.csv"
    frame = pd.read_csv(file, sep="\t", header=None, usecols=[0, 5], names=["label", "text"], quoting=csv.QUOTE_NONE)
    return _even(_texts([frame], "text", "label"), 3)


def _even(rows: pd.DataFrame, classes: int) -> pd.DataFrame:
    """As many rows, drawn at random, of each of the commonest classes."""
    counts = rows["label"].value_counts().iloc[:classes]
    kept = rows[rows["label"].isin(counts.index)]
    return kept.groupby("label").sample(int(counts.min()), random_state=0).reset_index(drop=True)


@cache
def _digits() -> pd.DataFrame:
    """Spectrograms of spoken digits of FSDD, from nought to four, as pictures."""
    folder = MADE / "fsdd"
    if not (folder / "done").exists():
        for clip in sorted((DATA / "fsdd").rglob("[0-4]_*.flac")):
            place = folder / clip.name[0]
            place.mkdir(parents=True, exist_ok=True)
            _spectrogram(clip).save(place / f"{clip.stem}.jpg", quality=95)
        (folder / "done").touch()
    return _images(folder)


def _spectrogram(clip: Path) -> Image.Image:
    """The first second of a clip, 80 dB from black to white, low tones below."""
    import soundfile  # `pip install soundfile`: no other benchmark hears anything

    samples, rate = soundfile.read(clip)
    padded = np.zeros(rate)
    padded[: len(samples)] = samples[:rate]
    windows = np.lib.stride_tricks.sliding_window_view(padded, 256)[::64] * np.hanning(256)
    power = 20 * np.log10(np.abs(np.fft.rfft(windows)).T[::-1] + 1e-6)
    scaled = np.clip((power - power.max()) / 80 + 1, 0, 1)
    return Image.fromarray((255 * scaled).astype(np.uint8)).resize((112, 112)).convert("RGB")


def _photos() -> pd.DataFrame:
    return _images(DATA / "hymenoptera")


@cache
def _objects() -> pd.DataFrame:
    folder = MADE / "cifar10"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(DATA / "cifar10_jpeg" / "cifar10_train500_test100.tar") as archive:
            archive.extractall(folder, filter="data")
        (folder / "done").touch()
    found = _images(folder)
    return found[found["label"].isin(OBJECTS)].reset_index(drop=True)


@cache
def _images(folder: Path) -> pd.DataFrame:
    files = sorted(path for path in folder.rglob("*.jp*g") if path.is_file())
    return pd.DataFrame({"image": [str(file) for file in files], "label": [file.parent.name for file in files]})


POOLS: dict[str, Callable[[], pd.DataFrame]] = {
    "trec": _trec,
    "mr": _mr,
    "hymenoptera": _photos,
    "tickets": _tickets,
    "diseases": _diseases,
    "cifar10": _objects,
    "stereotypes": _stereotypes,
    "numbers": _numbers,
    "genres": _genres,
    "digits": _digits,
}
