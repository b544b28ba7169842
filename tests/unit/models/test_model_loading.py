"""Loading with a head for the labels, what is refused before and after, and saving."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from transformers.utils import logging as hf_logging

from trimtab.config.recipe import ModelSection
from trimtab.core.errors import ModelError, RunError
from trimtab.models.integrity import CHECKSUM_FILE
from trimtab.models.loading import LoadedModel, load_model, load_processor, max_length_of, resolve_model, save_model
from trimtab.models.quiet import quiet_transformers

LABELS = ("billing", "network", "other")
Make = Callable[..., Any]
SIZES = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def load(directory: Path, labels: tuple[str, ...] = LABELS, **section: Any) -> LoadedModel:
    return load_model(
        resolve_model(str(directory)),
        auto_class="AutoModelForSequenceClassification",
        labels=labels,
        section=ModelSection(**section),
        modality="text",
    )


def load_image(directory: Path, **section: Any) -> LoadedModel:
    return load_model(
        resolve_model(str(directory)),
        auto_class="AutoModelForImageClassification",
        labels=LABELS,
        section=ModelSection(**section),
        modality="image",
    )


def edit_config(directory: Path, **changes: Any) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def edit_weights(directory: Path, changes: dict[str, torch.Tensor | None]) -> None:
    tensors = {**load_file(directory / "model.safetensors"), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, directory / "model.safetensors")


def logits_of(loaded: LoadedModel, texts: list[str]) -> torch.Tensor:
    with torch.inference_mode():
        return loaded.model(**loaded.processor(texts, return_tensors="pt", padding=True)).logits


def test_pretrained_body_and_fresh_head(tiny_bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    loaded = load(tiny_bert)
    weights = load_file(tiny_bert / "model.safetensors")
    parameters = dict(loaded.model.named_parameters())
    name = "bert.encoder.layer.1.output.dense.weight"
    assert torch.equal(parameters[name], weights[name])
    assert {parameter.dtype for parameter in parameters.values()} == {torch.float32}
    assert loaded.model.config.id2label == dict(enumerate(LABELS))
    assert loaded.model.config.label2id == {label: index for index, label in enumerate(LABELS)}
    assert loaded.model.config.problem_type == "single_label_classification"
    assert loaded.fresh_head
    assert loaded.notes == (
        "These parts of the head start from random weights: bert.pooler.dense.bias, bert.pooler.dense.weight, "
        "classifier.bias, classifier.weight.",
    )
    assert loaded.blocks.depth == 2
    assert not loaded.model.training
    assert logits_of(loaded, ["the router is broken", "thanks"]).shape == (2, 3)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_seed_decides_the_head(tiny_bert: Path) -> None:
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(load(tiny_bert).model.classifier.weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_half_precision_weights_become_float32(tiny_bert: Path) -> None:
    tensors = load_file(tiny_bert / "model.safetensors")
    save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, tiny_bert / "model.safetensors")
    edit_config(tiny_bert, dtype="bfloat16")
    assert {parameter.dtype for parameter in load(tiny_bert).model.parameters()} == {torch.float32}


def test_save_and_load_again(tiny_bert: Path, tmp_path: Path) -> None:
    loaded = load(tiny_bert)
    save_model(loaded.model, loaded.processor, tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", CHECKSUM_FILE,
    }  # fmt: skip
    again = load(tmp_path / "out")
    assert not again.fresh_head
    assert again.notes == ()
    texts = ["the refund please", "router"]
    assert torch.equal(logits_of(loaded, texts), logits_of(again, texts))
    with quiet_transformers():
        plain = hf.pipeline("text-classification", str(tmp_path / "out"))
    best = int(logits_of(again, texts)[0].argmax())
    assert plain(texts[:1])[0]["label"] == LABELS[best]


def test_same_number_of_other_labels_gets_a_new_classifier(tiny_bert: Path, tmp_path: Path) -> None:
    loaded = load(tiny_bert)
    save_model(loaded.model, loaded.processor, tmp_path / "out")
    other = load(tmp_path / "out", labels=("a", "b", "c"))
    assert other.fresh_head
    assert "names other labels" in other.notes[0]
    assert not torch.equal(other.model.classifier.weight, loaded.model.classifier.weight)
    assert torch.equal(other.model.bert.pooler.dense.weight, loaded.model.bert.pooler.dense.weight)
    assert other.model.classifier.bias.tolist() == [0.0] * 3
    assert 0.005 < float(other.model.classifier.weight.detach().std()) < 0.05


def test_other_number_of_labels_gets_a_new_classifier(tiny_bert: Path, tmp_path: Path) -> None:
    loaded = load(tiny_bert)
    save_model(loaded.model, loaded.processor, tmp_path / "out")
    other = load(tmp_path / "out", labels=("a", "b"))
    assert other.fresh_head
    assert other.model.classifier.weight.shape == (2, 16)
    assert "classifier.weight" in other.notes[0]


def test_missing_weights_outside_the_head_are_refused(tiny_bert: Path) -> None:
    edit_weights(tiny_bert, {"bert.encoder.layer.1.output.dense.weight": None})
    with pytest.raises(ModelError, match=r"do not fit.*\(bert\): they lack bert\.encoder\.layer\.1\.output\.dense"):
        load(tiny_bert)


def test_weights_of_another_shape_outside_the_head_are_refused(tiny_bert: Path) -> None:
    edit_weights(tiny_bert, {"bert.encoder.layer.0.intermediate.dense.bias": torch.zeros(31)})
    with pytest.raises(ModelError, match=r"another shape for .*dense\.bias \(\[31\] instead of \[32\]\)"):
        load(tiny_bert)


def test_weights_of_another_architecture_are_refused(tiny_bert: Path) -> None:
    edit_weights(tiny_bert, dict.fromkeys(load_file(tiny_bert / "model.safetensors")) | {"x": torch.ones(1)})
    with pytest.raises(ModelError, match="do not fit its architecture"):
        load(tiny_bert)


def test_truncated_weights_are_refused(tiny_bert: Path) -> None:
    file = tiny_bert / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cut off"):
        load(tiny_bert)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "no-such-net"}, "names the architecture 'no-such-net'"),
        ({"model_type": "no-such-net", "auto_map": {"AutoConfig": "x.Y"}}, "Python code of its own"),
        ({"hidden_size": "wide"}, "cannot be used"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, "quantised"),
    ],
)
def test_unusable_configuration(tiny_bert: Path, changes: dict[str, Any], words: str) -> None:
    edit_config(tiny_bert, **changes)
    with pytest.raises(ModelError, match=words):
        load(tiny_bert)


@pytest.mark.parametrize(
    ("text", "words"), [("{", "cannot be read"), ("[]", "no JSON object"), ("{}", "no model_type")]
)
def test_damaged_configuration(tiny_bert: Path, text: str, words: str) -> None:
    (tiny_bert / "config.json").write_text(text)
    with pytest.raises(ModelError, match=words):
        load(tiny_bert)


def test_image_model_cannot_read_text_and_is_refused_before_its_weights(tmp_path: Path) -> None:
    hf.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is an image model \(vit\), which cannot do text-classification"):
        load(tmp_path)


def test_text_model_cannot_see(tiny_bert: Path) -> None:
    with pytest.raises(ModelError, match=r"is a text model \(bert\), which cannot do image-classification"):
        load_image(tiny_bert)


def test_no_tokenizer(tiny_bert: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tiny_bert / name).unlink()
    with pytest.raises(ModelError, match="brings no tokenizer"):
        load(tiny_bert)


@pytest.mark.parametrize("text", ["{", '{"model": {"type": "Nonsense"}}'])
def test_damaged_tokenizer(tiny_bert: Path, text: str) -> None:
    (tiny_bert / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match=r"The tokenizer of the model .* cannot be loaded"):
        load(tiny_bert)


def test_tokenizer_of_a_larger_model(tiny_bert: Path, make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"word{i}" for i in range(20)])
    tokenizer.save_pretrained(tiny_bert)
    with pytest.raises(ModelError, match="has 32 tokens, and the model has embeddings for 20"):
        load(tiny_bert)


@pytest.mark.parametrize("configured_pad", [None, 7])
def test_decoder_pads_with_its_end_token(
    tmp_path: Path, configured_pad: int | None, make_tokenizer: Make, save_tiny: Make
) -> None:
    torch.manual_seed(0)
    config = hf.LlamaConfig(**SIZES, num_key_value_heads=2, pad_token_id=configured_pad)
    tokenizer = make_tokenizer(eos_token="[SEP]", unk_token="[UNK]")
    loaded = load(save_tiny(tmp_path, hf.LlamaForCausalLM(config), tokenizer))
    assert loaded.processor.pad_token == "[SEP]"
    assert loaded.model.config.pad_token_id == 3
    alone = logits_of(loaded, ["the router"])
    padded = logits_of(loaded, ["the router", "the router is broken please"])
    assert torch.allclose(alone[0], padded[0], atol=1e-5)


def test_tokenizer_without_any_token_to_pad_with(tmp_path: Path, make_tokenizer: Make, save_tiny: Make) -> None:
    config = hf.LlamaConfig(**SIZES, num_key_value_heads=2)
    directory = save_tiny(tmp_path, hf.LlamaForCausalLM(config), make_tokenizer(mask_token="[MASK]"))
    with pytest.raises(ModelError, match="no token to pad with"):
        load(directory)


def test_dropout_reaches_modules_and_fused_attention(tiny_bert: Path) -> None:
    model = load(tiny_bert, dropout=0.25).model
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.25}
    assert model.config.attention_probs_dropout_prob == model.config.hidden_dropout_prob == 0.25
    assert load(tiny_bert).model.config.hidden_dropout_prob == 0.1


def test_dropout_of_a_decoder_reaches_its_attention(tmp_path: Path, make_tokenizer: Make, save_tiny: Make) -> None:
    config = hf.LlamaConfig(**SIZES, num_key_value_heads=2)
    directory = save_tiny(tmp_path, hf.LlamaForCausalLM(config), make_tokenizer(eos_token="[SEP]"))
    loaded = load(directory, dropout=0.4)
    assert [layer.self_attn.attention_dropout for layer in loaded.model.model.layers] == [0.4, 0.4]


def make_convnext(directory: Path, save_tiny: Make) -> Path:
    config = hf.ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1])
    processor = hf.models.vit.image_processing_pil_vit.ViTImageProcessorPil(size={"height": 32, "width": 32})
    return save_tiny(directory, hf.ConvNextForImageClassification(config), processor)


def test_dropout_of_a_model_without_any_is_refused(tmp_path: Path, save_tiny: Make) -> None:
    with pytest.raises(ModelError, match=r"\(convnext\) has no dropout, so model\.dropout=0\.1 would do nothing"):
        load_image(make_convnext(tmp_path, save_tiny), dropout=0.1)


def test_image_model_and_processor_without_torchvision(tmp_path: Path, save_tiny: Make) -> None:
    from PIL import Image

    loaded = load_image(make_convnext(tmp_path, save_tiny))
    pixels = loaded.processor([Image.new("RGB", (50, 40))], return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 32, 32)
    assert loaded.model(pixels).logits.shape == (1, 3)
    assert type(loaded.processor).__name__.endswith("Pil")


def test_no_image_processor(tmp_path: Path, save_tiny: Make) -> None:
    directory = make_convnext(tmp_path, save_tiny)
    (directory / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="brings no image processor"):
        load_image(directory)


def test_unknown_architecture_is_noted(tmp_path: Path, save_tiny: Make) -> None:
    config = hf.XLNetConfig(vocab_size=20, d_model=16, n_layer=3, n_head=2, d_inner=16)
    loaded = load(save_tiny(tmp_path, hf.XLNetLMHeadModel(config)))
    assert loaded.blocks.inferred
    assert "'xlnet' is not one we know by name; its 3 blocks were found by inspection" in loaded.notes[-1]


def test_hub_model_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="the Hub cannot be reached"):
        load_processor(resolve_model("no-such-owner/no-such-model"), "text")


@pytest.mark.parametrize(
    ("config", "tokenizer_limit", "expected"),
    [
        (hf.BertConfig(max_position_embeddings=512), 1e30, 512),
        (hf.BertConfig(max_position_embeddings=512), 256, 256),
        (hf.RobertaConfig(max_position_embeddings=514), 1e30, 512),
        (hf.XLMRobertaConfig(max_position_embeddings=514, pad_token_id=1), 600, 512),
        (hf.MPNetConfig(max_position_embeddings=514), 1e30, 512),
        (hf.GPT2Config(n_positions=1024), 1e30, 1024),
        (hf.LlamaConfig(max_position_embeddings=2048), 1e30, 2048),
        (hf.T5Config(), 1e30, 512),
        (hf.T5Config(), 1024, 1024),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_max_length(config: Any, tokenizer_limit: float, expected: int, make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = int(tokenizer_limit)
    assert max_length_of(tokenizer, config) == expected


def test_roberta_reads_exactly_its_max_length(tmp_path: Path, make_tokenizer: Make) -> None:
    config = hf.RobertaConfig(**SIZES, max_position_embeddings=18, pad_token_id=1)
    model = hf.RobertaForSequenceClassification(config).eval()
    tokenizer = make_tokenizer()
    limit = max_length_of(tokenizer, config)
    assert limit == 16
    assert model(torch.full((1, limit), 5)).logits.shape == (1, 2)
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, limit + 1), 5))


def test_full_disk_while_saving(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(tiny_bert)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(loaded.model), "save_pretrained", full)
    with pytest.raises(RunError, match="No space left on device"):
        save_model(loaded.model, loaded.processor, tmp_path / "out")


def test_quiet_restores_what_was_set() -> None:
    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_info()
    try:
        with pytest.raises(KeyError), quiet_transformers():
            assert not hf_logging.is_progress_bar_enabled()
            raise KeyError
        assert hf_logging.get_verbosity() == hf_logging.INFO
        assert hf_logging.is_progress_bar_enabled() == bars
    finally:
        hf_logging.set_verbosity(level)
