"""Implementations of attention: what is refused before loading, what a model has, and that all compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_architectures
import tiny_engine
import torch

import trimtab.models.attention as attention
from trimtab.config.recipe import ModelSection
from trimtab.core.errors import RecipeError
from trimtab.models.attention import (
    FLASH,
    SDPA,
    attention_of,
    attentions_of,
    check_attention,
    keep_flash_to_half,
    set_attention,
)
from trimtab.models.loading import load_model
from trimtab.models.sources import resolve_model

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("wanted", ["flash_attention_2", "flex_attention"])
def test_what_needs_cuda_is_refused_elsewhere(wanted: str) -> None:
    with pytest.raises(RecipeError, match=f"model.attention: {wanted} needs CUDA") as caught:
        check_attention(wanted, CPU)
    assert "sdpa or eager" in caught.value.remedy


def test_flash_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "has_flash", lambda: False)
    with pytest.raises(RecipeError, match="flash-attn, which is not installed"):
        check_attention(FLASH, CUDA)
    monkeypatch.setattr(attention, "has_flash", lambda: True)
    check_attention(FLASH, CUDA)


@pytest.mark.parametrize("wanted", ["auto", "eager", "sdpa", FLASH])
def test_only_those_that_run_everywhere_pass_on_a_cpu(wanted: str) -> None:
    try:
        check_attention(wanted, CPU)
        passes = True
    except RecipeError:
        passes = False
    assert passes == (wanted != FLASH)


def load(directory: Path, wanted: str, auto_class: str = "AutoModelForSequenceClassification") -> Any:
    return load_model(
        resolve_model(str(directory)),
        auto_class=auto_class,
        labels=("a", "b", "c"),
        section=ModelSection(attention=wanted),
        modality="text",
    ).model


def test_a_model_is_loaded_with_the_attention_that_is_asked_for(tmp_path: Path) -> None:
    directory = tiny.save_bert(tmp_path / "bert")
    assert attention_of(load(directory, "eager")) == "eager"
    assert attention_of(load(directory, "auto")) == attention_of(load(directory, "sdpa")) == "sdpa"


def test_an_attention_that_the_model_does_not_have_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BertForSequenceClassification

    directory = tiny.save_bert(tmp_path / "bert")
    monkeypatch.setattr(BertForSequenceClassification, "_supports_sdpa", False)
    with pytest.raises(RecipeError, match=r"model.attention: this model does not run with sdpa") as caught:
        load(directory, "sdpa")
    assert "eager" in caught.value.remedy
    with pytest.raises(RecipeError, match="does not run with sdpa"):
        set_attention(load(directory, "eager"), "sdpa")


def test_what_a_model_has() -> None:
    assert attentions_of(tiny_engine.make_model(), CPU) == ("sdpa", "eager")
    assert attentions_of(tiny_engine.make_model(attn_implementation="eager"), CPU) == ("eager", "sdpa")
    assert attentions_of(tiny_architectures.make("resnet"), CPU) == ("eager",)
    assert attentions_of(torch.nn.Linear(2, 2), CPU) == ("eager",)


def test_flash_is_tried_on_cuda_where_its_package_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "has_flash", lambda: True)
    assert attentions_of(tiny_engine.make_model(), CUDA) == ("sdpa", "eager", FLASH)
    assert FLASH not in attentions_of(tiny_engine.make_model(), CPU)


def test_changing_changes_no_result() -> None:
    model = tiny_engine.make_model()
    with torch.no_grad():
        before = model(**tiny_architectures.TOKENS).logits
        set_attention(model, "eager")
        assert attention_of(model) == "eager"
        after = model(**tiny_architectures.TOKENS).logits
        set_attention(model, "sdpa")
        again = model(**tiny_architectures.TOKENS).logits
    assert torch.allclose(before, after, atol=1e-6)
    assert torch.equal(before, again)


def test_passes_in_float32_never_take_flash_attention() -> None:
    model = tiny_engine.make_model()
    model.config._attn_implementation_internal = FLASH
    keep_flash_to_half(model)
    keep_flash_to_half(model)
    assert len(model._forward_pre_hooks) == 1
    with torch.no_grad():
        model(**tiny_architectures.TOKENS)
    assert attention_of(model) == SDPA
