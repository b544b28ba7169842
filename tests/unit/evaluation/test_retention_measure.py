"""The meter on tiny models: nothing changed, one block changed, words added, and what cannot be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import tiny_architectures
import torch
from torch import nn
from transformers import (
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    PreTrainedModel,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from trimtab.config.recipe import EvaluationSection, ModelSection
from trimtab.config.retention import RetentionSection
from trimtab.core.errors import DataError, MissingDependencyError, RecipeError
from trimtab.data.batching import Batch
from trimtab.evaluation.retention.material import RetentionMaterial, read_material
from trimtab.evaluation.retention.measure import measure_retention, retention_probe
from trimtab.evaluation.retention.result import RetentionResult, compare
from trimtab.models.blocks import map_blocks
from trimtab.models.language_heads import causal_labels, language_model_loss, mask_tokens
from trimtab.models.loading import load_model, load_processor
from trimtab.models.representations import pool, represent
from trimtab.models.sources import ModelSource, resolve_model
from trimtab.tasks.base import ClassificationTask, Examples, TaskContext
from trimtab.tasks.image_classification import ImageClassification, ImageClassificationOptions
from trimtab.tasks.text_classification import TextClassification, TextClassificationOptions

EVALUATION = EvaluationSection(bootstrap_samples=100)
LABELS = ("a", "b", "c")
TEXT_TASK = TextClassification(TextClassificationOptions(), LABELS)
IMAGE_TASK = ImageClassification(ImageClassificationOptions(), LABELS)
TEXTS = [text for text, _ in tiny.labelled_texts(40)]
MASKING = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
GPT2 = GPT2Config(
    vocab_size=20, n_embd=16, n_layer=2, n_head=2, n_positions=32, pad_token_id=0, bos_token_id=1, eos_token_id=1
)
TEXT_MODELS = {
    "masked": lambda: BertForMaskedLM(tiny.bert_config(num_hidden_layers=3)),
    "causal": lambda: GPT2LMHeadModel(GPT2),
    "none": lambda: BertModel(tiny.bert_config()),
}


def saved(folder: Path, model: nn.Module, **special: str) -> ModelSource:
    special = special or {**MASKING, "mask_token": "[MASK]"}
    return resolve_model(str(tiny.save_tiny(folder / "model", model, tiny.make_tokenizer(**special))))


def text_source(folder: Path, kind: str, *, steps: int = 0, **special: str) -> ModelSource:
    """A model that was pretrained for so many steps on `TEXTS`."""
    torch.manual_seed(0)
    model = TEXT_MODELS[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    source = saved(folder, model, **special)
    if steps:
        pretrain(model, kind, load_processor(source, "text"), steps)
        model.eval().save_pretrained(source.location)
    return source


def pretrain(model: nn.Module, kind: str, tokenizer: Any, steps: int) -> None:
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    ids = batch["input_ids"]
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        labels = causal_labels(ids, batch["attention_mask"])
        if kind == "masked":
            batch["input_ids"], labels = mask_tokens(ids, special, tokenizer, draw)
        total, tokens = language_model_loss(model, kind, batch, labels)
        optimizer.zero_grad()
        (total / tokens).backward()
        optimizer.step()


def text_material(folder: Path, source: ModelSource, **fields: Any) -> RetentionMaterial:
    (folder / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    section = RetentionSection(text=str(folder / "texts.txt"), **fields)
    material = read_material(section, "text", source, load_processor(source, "text"), seed=0)
    assert material is not None
    return material


def classifier(source: ModelSource, task: ClassificationTask = TEXT_TASK) -> PreTrainedModel:
    loaded = load_model(
        source, auto_class=task.auto_class, labels=task.labels, section=ModelSection(), modality=task.modality
    )
    return loaded.model


def measured(model: PreTrainedModel, material: RetentionMaterial, source: ModelSource) -> RetentionResult:
    return measure_retention(model, material, source, TEXT_TASK, ModelSection(), EVALUATION)


def destroy(model: nn.Module, block: int, scale: float = 1.0) -> None:
    """Put random weights in the matrices of one block."""
    names = map_blocks(model).body[block].parameters
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in names and parameter.dim() > 1:
                parameter.normal_(0.0, scale)


@pytest.mark.parametrize("kind", ["masked", "causal"])
def test_the_pretrained_model_itself_has_kept_everything(kind: str, tmp_path: Path) -> None:
    source = text_source(tmp_path, kind)
    model = classifier(source)
    result = measured(model, text_material(tmp_path, source), source)
    assert result.notes == ()
    assert result.rank_agreement is not None
    assert result.rank_agreement.value == pytest.approx(1)
    assert list(result.cka) == [block.name for block in map_blocks(model).body]
    assert list(result.cka.values()) == pytest.approx([1.0] * len(result.cka))
    assert result.language_kind == kind
    assert result.pretraining_loss is not None
    assert result.pretraining_loss.difference.value == 0
    assert result.rows == 40
    assert f"{kind}-LM loss" in result.summary


@pytest.mark.parametrize("kind", ["masked", "causal"])
def test_drift_begins_at_the_block_that_changed(kind: str, tmp_path: Path) -> None:
    source = text_source(tmp_path, kind, steps=60)
    model = classifier(source)
    destroy(model, 1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = measured(model, text_material(tmp_path, source), source)
    first, *later = result.cka.values()
    assert first == pytest.approx(1)
    assert max(later) < 0.8
    assert result.rank_agreement is not None
    assert result.rank_agreement.value < 0.6
    assert result.pretraining_loss is not None
    assert result.pretraining_loss.difference.value > 0.1
    assert result.perplexity is not None
    assert result.perplexity[1] > result.perplexity[0]
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_causal_loss_is_that_of_the_texts_one_by_one(tmp_path: Path) -> None:
    source = text_source(tmp_path, "causal")
    result = measured(classifier(source), text_material(tmp_path, source), source)
    language = GPT2LMHeadModel.from_pretrained(source.location)
    tokenizer = load_processor(source, "text")
    total, tokens = 0.0, 0
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt")
        if ids["input_ids"].shape[1] > 1:
            count = ids["input_ids"].shape[1] - 1
            with torch.no_grad():
                total += language(**ids, labels=ids["input_ids"]).loss.item() * count
            tokens += count
    assert result.tokens == tokens
    assert result.pretraining_loss is not None
    assert result.pretraining_loss.before.value == pytest.approx(total / tokens, rel=1e-4)


def test_new_words_change_no_number(tmp_path: Path) -> None:
    source = text_source(tmp_path, "masked")
    model = classifier(source)
    model.resize_token_embeddings(33, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[20:].fill_(9.0)
    result = measured(model, text_material(tmp_path, source), source)
    assert result.pretraining_loss is not None
    assert result.pretraining_loss.difference.value == pytest.approx(0, abs=1e-5)
    assert result.rank_agreement is not None
    assert result.rank_agreement.value == pytest.approx(1)
    assert model.get_input_embeddings().weight.shape[0] == 33


def test_masks_are_the_same_for_both_models_and_from_the_seed(tmp_path: Path) -> None:
    source = text_source(tmp_path, "masked")
    material = text_material(tmp_path, source)
    original, probe = retention_probe(material, source, TEXT_TASK, ModelSection())
    one, other = probe.state(original.model).language, probe.state(original.model).language
    assert one is not None and other is not None
    assert np.array_equal(one.sums, other.sums)
    assert np.array_equal(one.tokens, other.tokens)
    assert 0.1 < one.tokens.sum() / probe.examples.lengths.sum() < 0.2


def test_random_streams_are_left_alone(tmp_path: Path) -> None:
    source = text_source(tmp_path, "none")
    model, material = classifier(source), text_material(tmp_path, source)
    state = torch.get_rng_state()
    measured(model, material, source)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_head_and_no_mask_token_are_told(tmp_path: Path) -> None:
    for kind, special, message in (
        ("none", {}, "has no language-model head"),
        ("masked", MASKING, "tokenizer has no mask token"),
    ):
        source = text_source(tmp_path / kind, kind, **special)
        result = measured(classifier(source), text_material(tmp_path, source), source)
        assert result.pretraining_loss is None
        assert any(message in note for note in result.notes)
        assert result.rank_agreement is not None


def test_scored_pairs(tmp_path: Path) -> None:
    source = text_source(tmp_path, "none")
    model = classifier(source)
    sides = list(zip(TEXTS[:20], TEXTS[20:], strict=True))
    examples = TEXT_TASK.encode(pd.DataFrame({"text": TEXTS}), TaskContext(load_processor(source, "text"), 32))
    vectors = represent(model, examples, np.arange(40)).output.astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = (vectors[:20] * vectors[20:]).sum(axis=1)
    frame = pd.DataFrame(sides, columns=["sentence1", "sentence2"]).assign(score=likeness * 10)
    frame.to_csv(tmp_path / "pairs.csv", index=False)
    material = text_material(tmp_path, source, pairs=str(tmp_path / "pairs.csv"))
    destroy(model, 0)
    result = measured(model, material, source)
    assert result.pairs == 20
    assert result.pair_spearman is not None
    assert result.pair_spearman.before.value == pytest.approx(1)
    assert result.pair_spearman.after.value < 0.8


def test_a_source_that_is_gone_is_told_and_not_raised(tmp_path: Path) -> None:
    source = text_source(tmp_path, "none")
    model, material = classifier(source), text_material(tmp_path, source)
    (tmp_path / "model" / "model.safetensors").unlink()
    result = measured(model, material, source)
    assert result.rank_agreement is None
    assert "Retention could not be measured" in result.notes[0]
    assert "holds no weights" in result.notes[0]


class TwoRows(Examples):
    """The two inputs that `tiny_architectures` has for each architecture."""

    def __init__(self, architecture: str) -> None:
        self.inputs = tiny_architectures.inputs(architecture)
        self.labels = None
        self.lengths = np.array([4, 4])

    def collate(self, rows: np.ndarray) -> Batch:
        picked = {name: tensor[torch.from_numpy(rows)] for name, tensor in self.inputs.items()}
        return Batch(picked, None, 4 * len(rows), 4 * len(rows))


@pytest.mark.parametrize("architecture", [*tiny_architectures.ALL, "albert"])
def test_every_architecture_shows_its_blocks(architecture: str) -> None:
    model = tiny_architectures.make(architecture)
    examples = TwoRows(architecture)
    found = represent(model, examples, np.array([0, 1]))
    assert list(found.blocks) == [block.name for block in map_blocks(model).body]
    assert all(vectors.shape[0] == 2 and np.isfinite(vectors).all() for vectors in found.blocks.values())
    swapped = represent(model, examples, np.array([1, 0]))
    for name, vectors in found.blocks.items():
        assert swapped.blocks[name] == pytest.approx(vectors[::-1], abs=1e-5)
    assert swapped.output == pytest.approx(found.output[::-1], abs=1e-5)
    assert not any(module._forward_hooks for module in model.modules())


def test_hidden_states_are_those_of_transformers() -> None:
    model = tiny_architectures.make("bert")
    found = represent(model, TwoRows("bert"), np.array([0, 1]))
    with torch.no_grad():
        hidden = model(**tiny_architectures.inputs("bert"), output_hidden_states=True).hidden_states
    for vectors, states in zip(found.blocks.values(), hidden[1:], strict=True):
        assert vectors == pytest.approx(states.mean(dim=1).numpy(), abs=1e-5)
    assert found.output == pytest.approx(hidden[-1].mean(dim=1).numpy(), abs=1e-5)


def test_pooling_leaves_out_padding_and_virtual_tokens() -> None:
    hidden = torch.arange(12.0).reshape(1, 6, 2)
    mask = torch.tensor([[1, 1, 0]])
    assert pool(hidden[:, :3], mask).tolist() == [[1.0, 2.0]]
    assert pool(hidden, mask).tolist() == [[7.0, 8.0]]
    assert pool(hidden, None).tolist() == [[5.0, 6.0]]
    assert pool(torch.ones(2, 3, 4, 4), None).shape == (2, 3)
    assert pool(hidden[:, 0], mask).tolist() == [[0.0, 1.0]]
    assert pool(hidden[:, :3], torch.zeros(1, 3)).tolist() == [[0.0, 0.0]]


IMAGE_MODELS = {
    "vit": lambda **names: ViTForImageClassification(
        ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32,
            patch_size=16, **names,
        )
    ),
    "mobilenet_v2": lambda **names: MobileNetV2ForImageClassification(
        MobileNetV2Config(image_size=32, depth_multiplier=0.35, **names)
    ),
}  # fmt: skip
NAMES = {0: "tench, Tinca tinca", 1: "great_white shark", 2: "crane", 3: "crane, lifting machine"}


def image_source(folder: Path, architecture: str, names: dict[int, str] = NAMES) -> ModelSource:
    pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    torch.manual_seed(0)
    model = IMAGE_MODELS[architecture](id2label=names, label2id={name: index for index, name in names.items()})
    with torch.no_grad():
        model.classifier.weight.normal_(0.0, 1.0)
        # Without batch-norm statistics of its own, a random network gives every image the same.
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        model.train()(torch.randn(16, 3, 32, 32))
    model.eval().save_pretrained(folder / "model")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder / "model")
    return resolve_model(str(folder / "model"))


def write_images(folder: Path, classes: list[str], count: int = 6) -> Path:
    from PIL import Image

    draw = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(draw.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(folder / name / f"{index}.png")
    return folder


def image_rows(folder: Path, source: ModelSource) -> Examples:
    images = sorted(str(path) for path in write_images(folder / "validation", ["a", "b"]).rglob("*.png"))
    return IMAGE_TASK.encode(pd.DataFrame({"image": images}), TaskContext(load_processor(source, "image")))


@pytest.mark.parametrize("architecture", IMAGE_MODELS)
def test_images_and_their_source_classes(architecture: str, tmp_path: Path) -> None:
    source = image_source(tmp_path, architecture)
    folder = write_images(tmp_path / "known", ["Tinca_tinca", "great white shark", "crane"])
    section = RetentionSection(images=str(folder), image_rows=15)
    material = read_material(section, "image", source, load_processor(source, "image"), seed=0)
    assert material is not None and material.images is not None
    assert sorted(set(material.images.classes.tolist())) == [0, 1, 2]
    assert len(material.images.paths) == 15
    model, rows = classifier(source, IMAGE_TASK), image_rows(tmp_path, source)

    def result() -> RetentionResult:
        return measure_retention(model, material, source, IMAGE_TASK, ModelSection(), EVALUATION, images=rows)

    same = result()
    assert same.source_loss is not None
    assert same.source_loss.difference.value == 0
    assert list(same.cka.values()) == pytest.approx([1.0] * len(same.cka))
    assert same.notes == ()
    original = IMAGE_MODELS[architecture]().from_pretrained(source.location).eval()
    pixels = IMAGE_TASK.encode(
        pd.DataFrame({"image": material.images.paths}), TaskContext(load_processor(source, "image"))
    ).collate(np.arange(15))
    with torch.no_grad():
        loss = nn.functional.cross_entropy(
            original(**pixels.inputs).logits, torch.from_numpy(material.images.classes)
        ).item()
    assert same.source_loss.before.value == pytest.approx(loss, rel=1e-4)
    destroy(model, -1, 0.05)
    changed = result()
    assert changed.source_loss is not None
    assert changed.source_loss.difference.value != 0
    *first, last = changed.cka.values()
    assert first == pytest.approx([1.0] * len(first))
    assert last < 0.99
    assert changed.images == 15
    assert "loss on source classes" in changed.summary


def test_images_without_source_classes(tmp_path: Path) -> None:
    source = image_source(tmp_path, "vit")
    material = read_material(RetentionSection(), "image", source, load_processor(source, "image"), seed=0)
    assert material is not None
    model = classifier(source, IMAGE_TASK)
    rows = image_rows(tmp_path, source)
    result = measure_retention(model, material, source, IMAGE_TASK, ModelSection(), EVALUATION, images=rows)
    assert result.rows == 12
    assert result.source_loss is None
    assert result.rank_agreement is not None
    assert result.rank_agreement.value == pytest.approx(1)


def test_a_checkpoint_without_its_classifier_is_told(tmp_path: Path) -> None:
    source = image_source(tmp_path, "vit")
    folder = write_images(tmp_path / "known", ["crane"], 8)
    section = RetentionSection(images=str(folder))
    material = read_material(section, "image", source, load_processor(source, "image"), seed=0)
    assert material is not None
    model = classifier(source, IMAGE_TASK)
    ViTForImageClassification.from_pretrained(source.location).vit.save_pretrained(source.location)
    config = Path(source.location, "config.json")
    assert "Tinca" in config.read_text()
    rows = image_rows(tmp_path, source)
    result = measure_retention(model, material, source, IMAGE_TASK, ModelSection(), EVALUATION, images=rows)
    assert result.source_loss is None
    assert "no classifier for its own classes" in result.notes[0]


def test_folders_that_the_model_does_not_know(tmp_path: Path) -> None:
    source = image_source(tmp_path, "vit")
    write_images(tmp_path / "known", ["crane", "great white sharks"], 1)

    def read(path: Path) -> None:
        read_material(RetentionSection(images=str(path)), "image", source, None, seed=0)

    with pytest.raises(DataError, match=r"'great white sharks'.*Did you mean 'great white shark'") as caught:
        read(tmp_path / "known")
    assert caught.value.remedy
    for path, message in ((tmp_path / "absent", "does not exist"), (tmp_path / "model", "has no folders with images")):
        with pytest.raises(DataError, match=message) as caught:
            read(path)
        assert caught.value.remedy


def test_a_model_that_does_not_name_its_classes(tmp_path: Path) -> None:
    source = image_source(tmp_path, "vit", {index: f"LABEL_{index}" for index in range(3)})
    folder = write_images(tmp_path / "known", ["crane"], 1)
    with pytest.raises(RecipeError, match="does not name the classes") as caught:
        read_material(RetentionSection(images=str(folder)), "image", source, None, seed=0)
    assert caught.value.remedy


def test_a_block_that_says_nothing_any_more_is_told(tmp_path: Path) -> None:
    source = text_source(tmp_path, "none")
    model = classifier(source)
    with torch.no_grad():
        model.bert.encoder.layer[1].output.LayerNorm.weight.zero_()
    result = measured(model, text_material(tmp_path, source), source)
    assert np.isnan(result.cka["block 1"])
    assert any("block 1" in note and "same representation" in note for note in result.notes)


def test_the_starter_ranks_real_pairs_as_published(shared_data: Path, tmp_path: Path) -> None:
    """0.8203 is the Spearman correlation published for all-MiniLM-L6-v2 on the test split of the STS benchmark."""
    try:
        source = resolve_model("starter")
    except MissingDependencyError:
        pytest.skip("the starter model is not installed")
    material = text_material(tmp_path, source, pairs=str(shared_data / "stsb" / "sts-test.csv"), rows=200)
    original, probe = retention_probe(material, source, TEXT_TASK, ModelSection())
    state = probe.state(original.model)
    result = compare(state, state, scores=probe.scores, samples=200)
    assert result.pairs == 200
    assert result.pair_spearman is not None
    assert result.pair_spearman.before.low < 0.8203 < result.pair_spearman.before.high
    assert result.pair_spearman.before.value > 0.75
