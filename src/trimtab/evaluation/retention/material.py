"""What retention is measured on, read and checked before training so that no fault of a file shows after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trimtab.config.retention import RetentionSection
from trimtab.core.errors import DataError, RecipeError, nearest
from trimtab.core.seeds import stream
from trimtab.data.images import class_folders, read_class_folders
from trimtab.data.tokens import token_statistics
from trimtab.evaluation.retention.texts import LANGUAGES, ScoredPairs, general_texts, read_pairs, read_texts
from trimtab.models.configs import load_config
from trimtab.models.hub import local_directory
from trimtab.tasks.base import Modality

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from trimtab.models.sources import ModelSource

MOST_UNKNOWN = 0.2
"""Share of unknown tokens from which our sentences in a language are left out: the model cannot read it."""
_LANGUAGE_NAMES = {"en": "English", "zh": "Chinese"}
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class SourceImages:
    """Images of classes that the pretrained model knows.

    Args:
        paths: image files.
        classes: the class of each in the pretrained model's own numbering, int64 `[images]`.
    """

    paths: list[str]
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class RetentionMaterial:
    """The rows of one measurement.

    Args:
        texts: general texts; empty for image models.
        pairs: scored pairs of texts, if the recipe names any.
        images: images of the source classes, if the recipe names any.
        rows: most rows of each kind.
        seed: the run's seed, for samples and masks.
        notes: what a user should know of the choice.
    """

    texts: list[str]
    pairs: ScoredPairs | None
    images: SourceImages | None
    rows: int
    seed: int
    notes: tuple[str, ...] = ()


def read_material(
    section: RetentionSection,
    modality: Modality,
    source: ModelSource,
    processor: Any,
    *,
    seed: int,
    trust_remote_code: bool = False,
) -> RetentionMaterial | None:
    """Read the rows that the recipe's section asks for; no weights are read. None where nothing is to be measured.

    Args:
        section: the recipe's `retention` section.
        modality: what the model reads.
        source: the pretrained model.
        processor: its own tokenizer or image processor.
        seed: the run's seed.
        trust_remote_code: run Python code that comes with the model.

    Raises:
        RecipeError: an option does not fit the modality or the model.
        DataError: a file cannot be used.
    """
    if not section.measure:
        return None
    _refuse_misplaced(section, modality)
    rows = section.image_rows if modality == "image" else section.rows
    material = RetentionMaterial([], None, None, rows, seed)
    if modality == "image":
        if section.images is None:
            return material
        directory = local_directory(source, weights=False, trust_remote_code=trust_remote_code)
        config = load_config(source, directory, trust_remote_code=trust_remote_code)
        return replace(material, images=_source_images(section.images, config, source.name, rows, seed))
    texts, notes = _texts(section, processor, seed)
    pairs = read_pairs(section.pairs) if section.pairs else None
    if pairs is not None:
        notes = (*notes, *pairs.notes)
        pairs = pairs.take(np.array(sample(list(range(len(pairs.scores))), section.rows, seed, "pairs")))
    return replace(material, texts=texts, pairs=pairs, notes=notes)


def sample(items: list[_Item], count: int, seed: int, name: str) -> list[_Item]:
    """At most `count` of the items, drawn by the stream called `name`, in their order."""
    if len(items) <= count:
        return items
    chosen = stream(seed, "retention", name).choice(len(items), size=count, replace=False)
    return [items[index] for index in sorted(chosen.tolist())]


def _refuse_misplaced(section: RetentionSection, modality: Modality) -> None:
    wrong = [name for name in (("text", "pairs") if modality == "image" else ("images",)) if getattr(section, name)]
    if wrong:
        other = "images" if modality == "image" else "texts"
        raise RecipeError(
            f"retention.{wrong[0]} cannot be measured with a model of {other}.",
            remedy=f"Remove retention.{wrong[0]} from the recipe.",
        )


def _texts(section: RetentionSection, tokenizer: Any, seed: int) -> tuple[list[str], tuple[str, ...]]:
    """The texts of the user's file, or of ours those in languages that the tokenizer can write."""
    if section.text is not None:
        return sample(read_texts(section.text), section.rows, seed, "texts"), ()
    texts: list[str] = []
    notes = []
    for language in LANGUAGES:
        sentences = general_texts(language)
        unknown = token_statistics(sentences, tokenizer, None).unknown_share
        if unknown <= MOST_UNKNOWN:
            texts += sentences
        else:
            notes.append(
                f"The general sentences in {_LANGUAGE_NAMES[language]} are left out: {100 * unknown:.0f} % of their "
                "tokens are unknown to the model."
            )
    if not texts:
        # A vocabulary of neither language; the sentences still show drift, and their notes say what they are.
        texts = [sentence for language in LANGUAGES for sentence in general_texts(language)]
        notes = [
            "The tokenizer can write few of the general sentences; name a file with texts of the model's own kind "
            "with retention.text for a better measure."
        ]
    return sample(texts, section.rows, seed, "texts"), tuple(notes)


def _source_images(path: str, config: PreTrainedConfig, name: str, rows: int, seed: int) -> SourceImages:
    folder = Path(path).expanduser()
    folders = class_folders(folder)
    if not folders:
        found = "has no folders with images" if folder.is_dir() else "does not exist"
        raise DataError(
            f"The folder {path!r} {found}.",
            remedy="Give retention.images a folder that holds a folder of images for each class.",
        )
    known = _names_of(config, name)
    wrong = [one.name for one in folders if _key(one.name) not in known]
    if wrong:
        raise DataError(
            f"{path} has the folder {wrong[0]!r}, and the model {name!r} knows no class of that name."
            f"{nearest(_key(wrong[0]), known)}",
            remedy="Name each folder of retention.images like a class in id2label of the model's config.json.",
        )
    frame = read_class_folders(folder).frame
    pairs = sample(list(zip(frame["image"], frame["label"], strict=True)), rows, seed, "images")
    classes = np.array([known[_key(label)] for _, label in pairs], dtype=np.int64)
    return SourceImages([str(image) for image, _ in pairs], classes)


def _names_of(config: PreTrainedConfig, name: str) -> dict[str, int]:
    """Class ids by every name that a class goes by: its label, and each part of one such as `tench, Tinca tinca`.

    A part that two classes share names neither.
    """
    labels = {int(index): str(label) for index, label in (config.id2label or {}).items()}
    if all(label == f"LABEL_{index}" for index, label in labels.items()):
        raise RecipeError(
            f"The model {name!r} does not name the classes it was pretrained on, so retention.images cannot be used.",
            remedy="Remove retention.images from the recipe, or write the names into id2label of its config.json.",
        )
    whole = {_key(label): index for index, label in labels.items()}
    parts: dict[str, set[int]] = {}
    for index, label in labels.items():
        for part in label.split(","):
            parts.setdefault(_key(part), set()).add(index)
    return {part: min(indices) for part, indices in parts.items() if len(indices) == 1} | whole


def _key(name: str) -> str:
    """A name without case, and with spaces for underscores."""
    return " ".join(name.replace("_", " ").lower().split())
