"""Augmented training rows in a run: only they change, after splitting, and each epoch by itself."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from PIL import Image

from trimtab.config.augmentation import AugmentationSection
from trimtab.config.load import build_recipe
from trimtab.core.errors import DataError, RecipeError
from trimtab.data.augmentation.images import augment_image
from trimtab.data.augmentation.resources import RESOURCES_FILE
from trimtab.data.augmentation.rows import Resources, augment_frame
from trimtab.data.dataset import fingerprint
from trimtab.data.loading import load_dataset
from trimtab.pipeline.augment import augmented_examples, check_sources
from trimtab.pipeline.parts import Parts, build_parts, lay_groundwork
from trimtab.tasks.augmented import AugmentedExamples, AugmentedImages, check_augmentation, special_ids
from trimtab.tasks.base import Examples, TaskContext
from trimtab.tasks.image_classification import ImageClassification, ImageClassificationOptions, ImageExamples
from trimtab.tasks.text_classification import TextClassification, TextClassificationOptions

LABELS = tuple(tiny.CLASS_WORDS)
IDS = {word: index for index, word in enumerate(tiny.WORDS)}
TASK = TextClassification(TextClassificationOptions(), LABELS)


class FormTokenizer:
    """The tiny tokenizer with [CLS] and [SEP] around each text, as BERT has them."""

    def __new__(cls) -> Any:
        from tokenizers.processors import TemplateProcessing

        made = tiny.make_tokenizer()
        made.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
        made.backend_tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        return made


def frame(rows: int = 60, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame(tiny.labelled_texts(rows), columns=["text", "label"]).assign(**columns)


def augmented(rows: pd.DataFrame, *, seed: int = 0, resources: Resources | None = None, **fields: Any) -> Any:
    context = TaskContext(FormTokenizer(), 64)
    return AugmentedExamples(
        TASK.encode(rows, context),
        rows,
        lambda changed: TASK.encode(changed, context),
        AugmentationSection(**fields),
        seed=seed,
        resources=resources or Resources(),
        tokenizer=context.processor,
    )


def ids_of(examples: Examples) -> list[list[int]]:
    batch = examples.collate(np.arange(len(examples)))
    lengths = batch.inputs["attention_mask"].sum(dim=1).tolist()
    return [row[:length] for row, length in zip(batch.inputs["input_ids"].tolist(), lengths, strict=True)]


def test_an_epoch_is_the_encoded_augmented_frame() -> None:
    rows = frame()
    examples = augmented(rows, word_dropout=0.2, probability=0.7)
    for epoch in (0, 1):
        wanted = augment_frame(rows, examples.section, seed=0, epoch=epoch)
        assert ids_of(examples.at_epoch(epoch)) == ids_of(TASK.encode(wanted, TaskContext(FormTokenizer(), 64)))
    assert ids_of(examples.at_epoch(0)) != ids_of(examples.at_epoch(1))


def test_without_an_epoch_the_rows_are_the_originals() -> None:
    rows = frame()
    examples = augmented(rows, word_dropout=0.5, probability=1.0)
    plain = TASK.encode(rows, TaskContext(FormTokenizer(), 64))
    examples.at_epoch(3)
    assert ids_of(examples) == ids_of(plain)
    assert len(examples) == len(rows)
    assert (examples.lengths == plain.lengths).all() and (examples.labels == plain.labels).all()
    assert (examples.at_epoch(3).labels == plain.labels).all()


def test_an_epoch_does_not_depend_on_those_before() -> None:
    fields = {"word_swap": 0.2, "token_cutoff": 0.2, "character_noise": 0.1}
    through = augmented(frame(), **fields)
    seen = [ids_of(through.at_epoch(epoch)) for epoch in range(4)]
    for epoch in (3, 1):
        assert ids_of(augmented(frame(), **fields).at_epoch(epoch)) == seen[epoch]
    assert ids_of(augmented(frame(), seed=1, **fields).at_epoch(1)) != seen[1]


@pytest.mark.parametrize("kind", ["span", "tokens"])
def test_token_cutoff_shortens_rows_and_keeps_their_form(kind: str) -> None:
    rows = frame(text_pair=["refund please thanks the router"] * 60)
    examples = augmented(rows, token_cutoff=0.4, token_cutoff_kind=kind, probability=1.0)
    before, after = ids_of(examples), ids_of(examples.at_epoch(0))
    form = {IDS["[CLS]"], IDS["[SEP]"]}
    for old, new in zip(before, after, strict=True):
        assert [token for token in new if token in form] == [token for token in old if token in form]
        first, second = (len(part) for part in _texts(new, form))
        assert second == 3 and 1 <= first <= max(1, len(_texts(old, form)[0]) - 1)
    made = examples.at_epoch(0)
    assert made.lengths.tolist() == [len(row) for row in after]
    types = made.collate(np.arange(len(made))).inputs["token_type_ids"]
    assert types.shape[1] == max(map(len, after)) and types.sum(dim=1).tolist() == [4] * 60


def _texts(ids: list[int], form: set[int]) -> list[list[int]]:
    ends = [at for at, token in enumerate(ids) if token in form]
    return [ids[start + 1 : end] for start, end in pairwise(ends)]


def test_unknown_tokens_are_content() -> None:
    tokenizer = FormTokenizer()
    assert special_ids(tokenizer).tolist() == [IDS["[PAD]"], IDS["[CLS]"], IDS["[SEP]"]]
    tokenizer.unk_token = "[SEP]"
    assert IDS["[SEP]"] in special_ids(tokenizer)


def test_cutoff_needs_rows_of_tokens() -> None:
    class Other(Examples):
        lengths, labels = np.ones(3), None

        def collate(self, rows: np.ndarray) -> Any:
            raise NotImplementedError

    section = AugmentationSection(token_cutoff=0.1)
    with pytest.raises(RecipeError, match="token_cutoff"):
        AugmentedExamples(
            Other(), frame(3), lambda f: Other(), section, seed=0, resources=Resources(), tokenizer=FormTokenizer()
        )


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_bert(tmp_path_factory.mktemp("models") / "bert")


def make_parts(bert: Path, rows: pd.DataFrame, **settings: Any) -> Parts:
    settings = {key.replace("__", "."): value for key, value in settings.items()}
    resolved = build_recipe(overrides={"model.name": str(bert), "training.device": "cpu", **settings})
    recipe = resolved.recipe
    return build_parts(resolved, lay_groundwork(recipe, load_dataset(rows, recipe.data, seed=recipe.seed)))


def test_only_training_rows_are_changed_and_only_after_splitting(bert: Path, tmp_path: Path) -> None:
    # Each row has a word of its own, so that it shows where a text comes from.
    rows = frame(120)
    rows["text"] = [f"{text} mark{chr(97 + n // 26)}{chr(97 + n % 26)}" for n, text in enumerate(rows["text"])]
    words = tmp_path / "synonyms.tsv"
    words.write_text("".join(f"{text.split()[-1]}\tsynonym{text.split()[-1]}\n" for text in rows["text"]))
    settings = {"augmentation__synonym_replacement": 0.5, "augmentation__synonyms": str(words)}
    plain = make_parts(bert, rows).ground.dataset.splits
    parts = make_parts(bert, rows, augmentation__word_swap=0.3, augmentation__probability=1.0, **settings)
    splits = parts.ground.dataset.splits
    before = {name: split.copy(deep=True) for name, split in splits.items()}

    examples = augmented_examples(parts, tmp_path / "kept")
    for epoch in range(3):
        examples.at_epoch(epoch)

    for name, split in splits.items():
        pd.testing.assert_frame_equal(split, before[name])
        assert fingerprint(split) == fingerprint(plain[name])
    training = {text.split()[-1] for text in splits["train"]["text"]}
    held_out = {text.split()[-1] for name in ("validation", "test") for text in splits[name]["text"]}
    assert isinstance(examples, AugmentedExamples)
    assert set(examples.resources.synonyms) == training and not training & held_out
    assert set(examples.frame["text"]) == set(splits["train"]["text"])
    for name in ("validation", "test"):
        assert parts.examples[name].at_epoch(1) is parts.examples[name]
        assert ids_of(parts.examples[name]) == ids_of(make_parts(bert, rows).examples[name])
    assert (tmp_path / "kept" / RESOURCES_FILE).is_file()


def test_without_augmentation_the_rows_are_the_same_object_and_nothing_is_written(bert: Path, tmp_path: Path) -> None:
    parts = make_parts(bert, frame(120))
    assert augmented_examples(parts, tmp_path / "kept") is parts.examples["train"]
    assert not (tmp_path / "kept").exists()


def test_synonyms_of_the_models_own_embeddings_and_the_random_state(bert: Path, tmp_path: Path) -> None:
    near = {"augmentation__synonyms": "embeddings", "augmentation__synonym_similarity": 0.9}
    parts = make_parts(bert, frame(120), augmentation__synonym_replacement=0.3, **near)
    table = parts.model.get_input_embeddings().weight
    with torch.no_grad():
        table[IDS["refund"]] = table[IDS["router"]] * 2
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    examples = augmented_examples(parts, tmp_path / "kept")
    assert torch.equal(torch.rand(1), expected)
    assert isinstance(examples, AugmentedExamples)
    assert examples.resources.synonyms == {"refund": ("router",), "router": ("refund",)}


def images(folder: Path, count: int = 6) -> list[str]:
    paths = []
    for index in range(count):
        ramp = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))
        pixels = np.stack([ramp, ramp.T, np.full_like(ramp, index * 30)], axis=-1)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        paths.append(str(folder / f"{index}.png"))
    return paths


def plain_processor(images: Image.Image, return_tensors: str) -> dict[str, np.ndarray]:
    assert images.size == (32, 32)
    return {"pixel_values": np.asarray(images, dtype=np.float32).transpose(2, 0, 1)[None] / 255}


def image_examples(folder: Path) -> ImageExamples:
    return ImageExamples(images(folder), np.array([0, 1, 0, 1, 0, 1]), plain_processor, 1 << 20)


def pixels_of(examples: Examples) -> np.ndarray:
    return np.asarray(examples.collate(np.arange(len(examples))).inputs["pixel_values"])


def test_images_are_mirrored(tmp_path: Path) -> None:
    original = image_examples(tmp_path)
    examples = AugmentedImages(original, AugmentationSection(horizontal_flip=1.0, probability=1.0), seed=0)
    before = pixels_of(original)
    np.testing.assert_array_equal(pixels_of(examples), before)
    np.testing.assert_array_equal(pixels_of(examples.at_epoch(0)), before[..., ::-1])
    batch = examples.at_epoch(0).collate(np.array([4, 1]))
    assert batch.labels is not None and batch.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(batch.inputs["pixel_values"], before[[4, 1]][..., ::-1])


def test_images_of_an_epoch_do_not_depend_on_batches_or_history(tmp_path: Path) -> None:
    original = image_examples(tmp_path)
    section = AugmentationSection(random_resized_crop=0.5, color_jitter=0.3, probability=0.5)
    examples = AugmentedImages(original, section, seed=0)
    whole = pixels_of(examples.at_epoch(2))
    for rows in ([3], [5, 0], [2, 1, 4]):
        part = np.asarray(examples.at_epoch(2).collate(np.array(rows)).inputs["pixel_values"])
        np.testing.assert_array_equal(part, whole[rows])
    assert (pixels_of(examples.at_epoch(1)) != whole).any()
    changed = [(pixels_of(examples.at_epoch(e)) != pixels_of(original)).any(axis=(1, 2, 3)) for e in range(40)]
    assert np.mean(changed) == pytest.approx(0.5, abs=0.1)


def test_a_crop_removes_no_more_than_it_may() -> None:
    # Each pixel tells its place, so that the extent of the part that is left shows.
    place = np.arange(64, dtype=np.uint8) * 4
    across, down = np.meshgrid(place, place)
    image = Image.fromarray(np.stack([across, down, across], axis=-1))
    shares = []
    for seed in range(100):
        cropped = augment_image(image, AugmentationSection(random_resized_crop=0.4), np.random.default_rng(seed))
        found = np.asarray(cropped).astype(float)
        sides = [np.ptp(found[..., channel]) / 252 for channel in (0, 1)]
        shares.append(sides[0] * sides[1])
        assert cropped.size == image.size
    assert 0.5 < min(shares) < 0.7 and max(shares) > 0.9


def test_colours_move_within_their_range() -> None:
    grey = Image.fromarray(np.full((8, 8, 3), 100, dtype=np.uint8))
    values = [
        float(np.asarray(augment_image(grey, AugmentationSection(color_jitter=0.2), np.random.default_rng(s))).mean())
        for s in range(100)
    ]
    assert 79 <= min(values) < 90 and 110 < max(values) <= 121


def test_operations_of_the_other_kind_of_data_are_refused() -> None:
    pictures = ImageClassification(ImageClassificationOptions(), LABELS)
    with pytest.raises(RecipeError) as raised:
        check_augmentation(AugmentationSection(word_dropout=0.1, word_swap=0.1), pictures)
    assert "augmentation.word_swap, augmentation.word_dropout: the task image-classification" in raised.value.message
    assert "horizontal_flip, random_resized_crop, color_jitter" in raised.value.remedy
    with pytest.raises(RecipeError, match=r"augmentation\.horizontal_flip: the task text-classification"):
        check_augmentation(AugmentationSection(horizontal_flip=0.5), TASK)
    check_augmentation(AugmentationSection(horizontal_flip=0.5), pictures)
    check_augmentation(AugmentationSection(word_dropout=0.1), TASK)


def test_a_word_list_and_a_cache_are_looked_at_before_the_data(tmp_path: Path) -> None:
    missing = tmp_path / "no.tsv"
    with pytest.raises(DataError, match="cannot be read"):
        check_sources(AugmentationSection(synonym_replacement=0.1, synonyms=str(missing)))
    (tmp_path / "rows.csv").write_text("text,label\n")
    translators = {"back_translation_forward": "a/b", "back_translation_backward": "b/a"}
    with pytest.raises(DataError, match="is no kept translation"):
        check_sources(AugmentationSection(back_translation_cache=str(tmp_path / "rows.csv"), **translators))
    check_sources(AugmentationSection(word_swap=0.1))


def test_a_task_that_labels_parts_of_rows_is_refused() -> None:
    class Tagging:
        name, modality = "tagging", "text"

    with pytest.raises(RecipeError, match="labels of the task tagging belong to parts of a row"):
        check_augmentation(AugmentationSection(word_dropout=0.1), Tagging())  # type: ignore[arg-type]
    check_augmentation(AugmentationSection(), Tagging())  # type: ignore[arg-type]
