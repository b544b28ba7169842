"""Back-translation: there and back, once, kept on disk by content, with tiny random translators and with fake ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from transformers import MarianConfig, MarianMTModel, T5Config, T5ForConditionalGeneration

from trimtab.config.augmentation import AugmentationSection
from trimtab.core.errors import DataError, ModelError, RecipeError, RunError
from trimtab.data.augmentation.resources import make_resources
from trimtab.data.augmentation.translation import TranslationCache, back_translate, fingerprint_of
from trimtab.pipeline.augment import _sources, check_sources

TEXTS = ["the router is broken", "refund please", "thanks", "refund please"]


def save_translator(folder: Path, kind: str, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    shared = {
        "vocab_size": len(tiny.WORDS),
        "d_model": 16,
        "pad_token_id": 0,
        "eos_token_id": 3,
        "decoder_start_token_id": 0,
    }
    if kind == "t5":
        model: Any = T5ForConditionalGeneration(
            T5Config(d_kv=8, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.5, **shared)
        )
    else:
        size = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
        heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 48}
        model = MarianMTModel(MarianConfig(forced_eos_token_id=3, **size, **heads, **shared))
    # Random weights would write padding or an end and nothing else, or come to no end.
    model.generation_config.suppress_tokens = [0, 1, 2, 4]
    model.generation_config.min_new_tokens = 3
    model.generation_config.exponential_decay_length_penalty = (3, 3.0)
    tokenizer = tiny.make_tokenizer(pad_token="[PAD]", unk_token="[UNK]", eos_token="[SEP]")
    return tiny.save_tiny(folder, model, tokenizer)


@pytest.fixture(scope="module")
def translators(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("translators")
    return save_translator(folder / "t5", "t5"), save_translator(folder / "marian", "marian", seed=1)


def section(forward: Path | str, backward: Path | str, **fields: Any) -> AugmentationSection:
    return AugmentationSection(back_translation_forward=str(forward), back_translation_backward=str(backward), **fields)


class Fake:
    """A translator that turns words round, and counts how many texts it was given."""

    def __init__(self, *, silent: str = "") -> None:
        self.seen: list[str] = []
        self.silent = silent

    def translate(self, texts: Sequence[str]) -> list[str | None]:
        self.seen += texts
        return [None if not text or text == self.silent else f"{text[::-1]}." for text in texts]


def translate(cache: TranslationCache, texts: Sequence[str], **silent: str) -> tuple[dict[str, str], Fake, Fake]:
    forward, backward = Fake(**silent), Fake()
    found = back_translate(texts, lambda: (forward, backward), cache, "models")  # type: ignore[arg-type, return-value]
    return found, forward, backward


def test_each_text_goes_there_and_back_once(tmp_path: Path) -> None:
    found, forward, backward = translate(TranslationCache(tmp_path / "cache.jsonl"), ["abc", "de", "abc"])
    assert found == {"abc": ".abc.", "de": ".de."}
    assert (forward.seen, backward.seen) == (["abc", "de"], ["cba.", "ed."])


def test_a_text_that_cannot_be_translated_stays(tmp_path: Path) -> None:
    found, _, _ = translate(TranslationCache(None), ["abc", "de"], silent="de")
    assert found == {"abc": ".abc.", "de": "de"}


def test_what_is_kept_is_not_translated_again(tmp_path: Path) -> None:
    path = tmp_path / "below" / "cache.jsonl"
    translate(TranslationCache(path), ["abc", "de"])
    found, forward, _ = translate(TranslationCache(path), ["de", "new"])
    assert found == {"de": ".de.", "new": ".new."}
    assert forward.seen == ["new"]
    assert TranslationCache(path).find("other models", "de") is None


def test_a_torn_line_costs_one_translation(tmp_path: Path) -> None:
    path = tmp_path / "cache.jsonl"
    translate(TranslationCache(path), ["abc", "de"])
    path.write_bytes(path.read_bytes()[:-9])
    found, forward, _ = translate(TranslationCache(path), ["abc", "de"])
    assert forward.seen == ["de"] and found["de"] == ".de."
    assert [json.loads(line)["text"] for line in path.read_text().splitlines()] == ["abc", "de"]


@pytest.mark.parametrize("content", ["text,label\nabc,x\n", "no line end", '{"models": "m"}\n', "[1]\n"])
def test_another_file_is_no_cache_and_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(content)
    with pytest.raises(DataError, match="back_translation_cache"):
        TranslationCache(path)
    assert path.read_text() == content


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Cannot write"):
        translate(TranslationCache(tmp_path / "file" / "cache.jsonl"), ["abc"])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["t5-marian", "marian-t5"])
@pytest.mark.parametrize("fields", [{}, {"back_translation_beams": 2}], ids=["greedy", "beams"])
def test_through_two_real_architectures(
    translators: tuple[Path, Path], tmp_path: Path, order: tuple[int, int], fields: dict[str, Any]
) -> None:
    wanted = section(*(translators[index] for index in order), **fields)
    check_sources(wanted)
    made = []
    for folder in (tmp_path / "a", tmp_path / "b", tmp_path / "a"):
        sources = _sources(wanted, tiny.make_tokenizer(), None, torch.device("cpu"))
        made.append(make_resources(wanted, TEXTS, sources, folder=folder).back_translations)
    assert set(made[0]) == set(TEXTS)
    assert all(back.strip() and back != text for text, back in made[0].items())
    assert made[0] == made[1] == made[2]


def test_the_translation_is_that_of_generate(translators: tuple[Path, Path]) -> None:
    from trimtab.pipeline.augment import FORWARD, _load_translator

    wanted = section(*translators, back_translation_prompts=["please ", "thanks "])
    translator = _load_translator(wanted, FORWARD, torch.device("cpu"))
    assert not translator.model.training and translator.max_length == 32
    ids = translator.tokenizer(["please the router"], return_tensors="pt").input_ids
    written = translator.model.generate(ids, do_sample=False, num_beams=1, max_new_tokens=2 * ids.shape[1] + 8)
    expected = translator.tokenizer.decode(written[0], skip_special_tokens=True).strip()
    assert expected
    # The same beside longer texts, and in any order.
    assert translator.translate(["router is broken thanks", "the router"])[1] == expected
    assert translator.translate(["", "word " * 40, "the router"]) == [None, None, expected]


def test_a_translation_without_end_is_none(translators: tuple[Path, Path]) -> None:
    from trimtab.pipeline.augment import FORWARD, _load_translator

    translator = _load_translator(section(*translators), FORWARD, torch.device("cpu"))
    assert translator.translate(["the router"])[0]
    translator.model.generation_config.suppress_tokens = [0, 1, 2, 3, 4]
    assert translator.translate(["the router"]) == [None]


def test_a_resumed_run_needs_no_models(translators: tuple[Path, Path], tmp_path: Path) -> None:
    wanted = section(*translators)
    first = make_resources(
        wanted, TEXTS, _sources(wanted, tiny.make_tokenizer(), None, torch.device("cpu")), folder=tmp_path
    )
    gone = section("gone/away", "gone/too")
    again = make_resources(
        gone, TEXTS, _sources(gone, tiny.make_tokenizer(), None, torch.device("cpu")), folder=tmp_path
    )
    assert again.back_translations == first.back_translations


def test_the_key_follows_models_and_settings(translators: tuple[Path, Path], tmp_path: Path) -> None:
    keys = {
        fingerprint_of(translators, [None]),
        fingerprint_of(translators[::-1], [None]),
        fingerprint_of(translators, ["prompt"]),
        fingerprint_of([translators[0], save_translator(tmp_path / "other", "marian", seed=2)], [None]),
    }
    assert len(keys) == 4
    assert fingerprint_of(translators, [None]) in keys


def test_models_that_do_not_translate_are_refused(translators: tuple[Path, Path], tmp_path: Path) -> None:
    bert = tiny.save_bert(tmp_path / "bert")
    for forward, backward, key in ((bert, translators[1], "forward"), (translators[0], tmp_path / "no", "backward")):
        with pytest.raises(ModelError) as raised:
            check_sources(section(forward, backward))
        assert f"augmentation.back_translation_{key}: " in raised.value.message
        assert f"augmentation.back_translation_{key}" in raised.value.remedy
    with pytest.raises(RecipeError, match="is not told languages"):
        check_sources(section(*translators, back_translation_languages=["en", "de"]))


class ManyLanguages:
    """A tokenizer of the kind of NLLB."""

    unk_token_id = 0
    src_lang = "eng_Latn"

    def convert_tokens_to_ids(self, token: str) -> int:
        return {"eng_Latn": 7, "deu_Latn": 9}.get(token, 0)


def test_models_of_many_languages_are_told_which() -> None:
    from trimtab.pipeline.augment import BACKWARD, FORWARD, _first_token

    wanted = section("a/b", "a/b", back_translation_languages=["eng_Latn", "deu_Latn"])
    tokenizer = ManyLanguages()
    assert (_first_token(wanted, FORWARD, tokenizer), tokenizer.src_lang) == (9, "eng_Latn")
    assert (_first_token(wanted, BACKWARD, tokenizer), tokenizer.src_lang) == (7, "deu_Latn")
    unknown = section("a/b", "a/b", back_translation_languages=["eng_Latn", "xyz"])
    with pytest.raises(RecipeError, match="does not know"):
        _first_token(unknown, FORWARD, tokenizer)


def test_the_preview_translates_the_rows_it_shows(translators: tuple[Path, Path], tmp_path: Path) -> None:
    from trimtab.config.load import build_recipe
    from trimtab.pipeline.augment import preview

    cache = tmp_path / "cache.jsonl"
    values = section(*translators, back_translation_cache=str(cache)).model_dump(exclude_defaults=True)
    settings = {f"augmentation.{name}": value for name, value in values.items()}
    settings |= {"model.name": str(tiny.save_bert(tmp_path / "bert")), "training.device": "cpu"}
    found = preview(build_recipe(overrides=settings), str(tiny.write_csv(tmp_path / "rows.csv", 60)), 4)
    kept = {entry["text"]: entry["back"] for entry in map(json.loads, cache.read_text().splitlines())}
    assert len(kept) == 4
    assert {pair.original[0]: pair.augmented[0] for pair in found.pairs} == {
        text: back for text, back in kept.items() if back != text
    }
    assert found.pairs and {pair.operations for pair in found.pairs} == {("back_translation",)}
