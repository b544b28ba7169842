"""Training rows that change from epoch to epoch, for any task that has one label a row."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.config.augmentation import IMAGE_OPERATIONS, TEXT_OPERATIONS, AugmentationSection
from trimtab.core.errors import DataError, RecipeError
from trimtab.core.optional import require
from trimtab.core.seeds import stream
from trimtab.data.augmentation.cutoff import cut_rows
from trimtab.data.augmentation.rows import TOKEN_CUTOFF, Resources, augment_rows
from trimtab.data.batching import Batch
from trimtab.tasks.base import ClassificationTask, Examples, Task

if TYPE_CHECKING:
    import pandas as pd

_SPECIAL_NAMES = ("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "pad_token_id", "mask_token_id")


def check_augmentation(section: AugmentationSection, task: Task) -> None:
    """Refuse augmentation that a task cannot have.

    Raises:
        RecipeError: operations on text for images, or the other way round; or a task whose labels do not belong to
            whole rows, so that they would not fit the changed texts.
    """
    ours, others = section.text_operations, section.image_operations
    kind, wrong = "text", others
    known: tuple[str, ...] = TEXT_OPERATIONS
    if task.modality == "image":
        kind, wrong, known = "images", ours, IMAGE_OPERATIONS
    if wrong:
        keys = ", ".join(f"augmentation.{name}" for name in wrong)
        raise RecipeError(
            f"{keys}: the task {task.name} learns from {kind}, which {_plural(wrong)} cannot change.",
            remedy=f"Remove {'it' if len(wrong) == 1 else 'them'} from the recipe; for {kind} there are: "
            f"{', '.join(known)}.",
        )
    if (ours or others) and not isinstance(task, ClassificationTask):
        raise RecipeError(
            f"augmentation: the labels of the task {task.name} belong to parts of a row, and would not fit the rows "
            "that augmentation changes.",
            remedy="Remove the section augmentation from the recipe.",
        )


def _plural(names: tuple[str, ...]) -> str:
    return "this operation" if len(names) == 1 else "these operations"


class AugmentedExamples(Examples):
    """Encoded training rows that look as they are, and change from epoch to epoch through `at_epoch`.

    Lengths, labels and `collate` are those of the unchanged rows.

    Args:
        original: the unchanged rows, encoded.
        frame: the same rows as texts, a canonical frame.
        encode: encodes a frame as `original` was.
        section: the recipe's section; some operation on text is on.
        seed: the run's seed.
        resources: synonyms and back-translations.
        tokenizer: the model's, to know its special tokens.

    Raises:
        RecipeError: `token_cutoff` is on, and the task's rows are not token ids end to end.
    """

    def __init__(
        self,
        original: Examples,
        frame: pd.DataFrame,
        encode: Callable[[pd.DataFrame], Examples],
        section: AugmentationSection,
        *,
        seed: int,
        resources: Resources,
        tokenizer: Any,
    ) -> None:
        self.original = original
        self.frame = frame
        self.encode = encode
        self.section = section
        self.seed = seed
        self.resources = resources
        self.special = special_ids(tokenizer)
        self.lengths = original.lengths
        self.labels = original.labels
        self._made: tuple[int, Examples] | None = None
        if section.token_cutoff > 0 and "input_ids" not in getattr(original, "ids", {}):
            raise RecipeError(
                "augmentation.token_cutoff: the rows of this task are not kept as token ids, so that none can be cut.",
                remedy="Remove augmentation.token_cutoff; augmentation.word_dropout removes words of the text.",
            )

    def collate(self, rows: np.ndarray) -> Batch:
        """The unchanged rows `rows`."""
        return self.original.collate(rows)

    def at_epoch(self, epoch: int) -> Examples:
        """The rows of an epoch, counted from 0: a function of the seed and the epoch alone."""
        if self._made is None or self._made[0] != epoch:
            self._made = (epoch, self._make(epoch))
        return self._made[1]

    def _make(self, epoch: int) -> Examples:
        frame, applied = augment_rows(self.frame, self.section, seed=self.seed, epoch=epoch, resources=self.resources)
        retold = any(name != TOKEN_CUTOFF for operations in applied for name in operations)
        examples = self.encode(frame) if retold else self.original
        cut = np.array([row for row, operations in enumerate(applied) if TOKEN_CUTOFF in operations], dtype=np.int64)
        return self._cut(examples, cut, epoch) if len(cut) else examples

    def _cut(self, examples: Any, rows: np.ndarray, epoch: int) -> Examples:
        stays = cut_rows(
            examples.ids["input_ids"],
            examples.offsets,
            rows,
            self.special,
            self.section.token_cutoff,
            self.section.token_cutoff_kind,
            seed=self.seed,
            epoch=epoch,
        )
        shorter: Any = copy.copy(examples)
        shorter.ids = {name: values[stays] for name, values in examples.ids.items()}
        shorter.offsets = np.concatenate([[0], np.cumsum(stays)])[examples.offsets]
        shorter.lengths = np.diff(shorter.offsets)
        result: Examples = shorter
        return result


class AugmentedImages(Examples):
    """Training images that look as they are, and change from epoch to epoch through `at_epoch`.

    Args:
        original: the unchanged rows; it has `paths` and `processor`.
        section: the recipe's section; some operation on images is on.
        seed: the run's seed.
        epoch: the epoch to give, counted from 0; None for the unchanged images.
    """

    def __init__(self, original: Any, section: AugmentationSection, *, seed: int, epoch: int | None = None) -> None:
        self.original = original
        self.section = section
        self.seed = seed
        self.epoch = epoch
        self.lengths = original.lengths
        self.labels = original.labels

    def at_epoch(self, epoch: int) -> Examples:
        """The images of an epoch; each is changed when a batch asks for it."""
        return AugmentedImages(self.original, self.section, seed=self.seed, epoch=epoch)

    def collate(self, rows: np.ndarray) -> Batch:
        """The images `rows`, `pixel_values` `[batch, 3, height, width]`."""
        import torch

        if self.epoch is None:
            return self._unchanged(rows)
        draws = {int(row): stream(self.seed, "augmentation", self.epoch, int(row)) for row in rows}
        changed = np.array([draws[int(row)].random() < self.section.probability for row in rows], dtype=bool)
        pixels: list[Any] = [None] * len(rows)
        if not changed.all():
            kept = self._unchanged(rows[~changed]).inputs["pixel_values"]
            for place, image in zip(np.flatnonzero(~changed), kept, strict=True):
                pixels[int(place)] = image
        for place in np.flatnonzero(changed):
            row = int(rows[place])
            pixels[int(place)] = torch.from_numpy(self._pixels(row, draws[row]))
        patches = int(self.lengths[rows].sum())
        labels = None if self.labels is None else torch.from_numpy(self.labels[rows])
        return Batch({"pixel_values": torch.stack(pixels)}, labels, patches, patches)

    def _unchanged(self, rows: np.ndarray) -> Batch:
        batch: Batch = self.original.collate(rows)
        return batch

    def _pixels(self, row: int, rng: np.random.Generator) -> np.ndarray:
        """One changed image as the model reads it, float32 `[3, height, width]`."""
        from trimtab.data.augmentation.images import augment_image

        pillow = require("PIL.Image", extra="vision", purpose="read images")
        path = self.original.paths[row]
        try:
            with pillow.open(path) as image:
                changed = augment_image(image.convert("RGB"), self.section, rng)
        except OSError as error:
            raise DataError(
                f"The image {path} cannot be read: {error}.", remedy="Remove it or replace it, and start again."
            ) from error
        encoded = self.original.processor(images=changed, return_tensors="np")
        return np.ascontiguousarray(encoded["pixel_values"][0], dtype=np.float32)


def special_ids(tokenizer: Any) -> np.ndarray:
    """Ids that give a row its form (start, end, separator, padding, …), sorted; the unknown token is content."""
    form = {getattr(tokenizer, name, None) for name in _SPECIAL_NAMES} - {None}
    found = set(tokenizer.all_special_ids) - ({tokenizer.unk_token_id} - form)
    return np.array(sorted(found), dtype=np.int64)
