"""Where the embeddings of new tokens start from, and that the longer model is a plain one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_architectures
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForMaskedLM, BertTokenizer

from trimtab.config.recipe import ModelSection
from trimtab.core.errors import ModelError, RecipeError
from trimtab.models.blocks import map_blocks
from trimtab.models.extension import RATE_FACTOR, extend_vocabulary, new_token_rate
from trimtab.models.loading import LoadedModel, load_model, save_model
from trimtab.models.sources import ModelSource, resolve_model

LABELS = ("billing", "network", "other")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# No piece for a w within a word, none for an é, a ： or an ő.
PIECES = [*SPECIAL, *"abcdefghijklmno:", "w", *(f"##{letter}" for letter in "abcdefghijklmno"), *"中大小上下一二三"]
CASED = {piece: index for index, piece in enumerate(PIECES)}
TEXTS = ["天 天 天 a：b kő", "aw 气 气 aɣbɣ"]


def section(**options: Any) -> ModelSection:
    return ModelSection(extend_vocabulary=True, **{"vocabulary_min_count": 1, **options})


def make(model: Any = None) -> LoadedModel:
    """A BERT with a tokenizer that keeps case and accents; its embeddings have two rows more than it has tokens."""
    torch.manual_seed(0)
    model = model or AutoModelForSequenceClassification.from_config(tiny.bert_config(vocab_size=len(PIECES) + 2))
    tokenizer = BertTokenizer(vocab=CASED, do_lower_case=False, model_max_length=32)
    return LoadedModel(model.eval(), tokenizer, map_blocks(model), ModelSource("tiny", "local", "."), True, ("before",))


def embeddings(loaded: LoadedModel) -> torch.Tensor:
    return loaded.model.get_input_embeddings().weight.detach()


def new_rows(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    assert loaded.new_rows is not None
    matrix = embeddings(loaded)[loaded.new_rows.first :]
    return {token.piece: row for token, row in zip(loaded.new_rows.tokens, matrix, strict=True)}


def write_vectors(folder: Path, tokens: Sequence[str], *, dimensions: int = 4, seed: int = 0) -> str:
    folder.mkdir(exist_ok=True)
    matrix = torch.randn(len(tokens), dimensions, generator=torch.Generator().manual_seed(seed))
    save_file({"embedding": matrix}, folder / "vectors.safetensors")
    (folder / "vocab.json").write_text(json.dumps({token: row for row, token in enumerate(tokens)}), encoding="utf-8")
    return str(folder)


def test_the_old_model_stays_and_the_new_rows_follow_it() -> None:
    loaded = make()
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    old = len(PIECES)
    longer = extend_vocabulary(loaded, TEXTS, section(), seed=0)
    assert longer.new_rows is not None
    assert longer.new_rows.first == old and longer.new_rows.end == old + len(longer.new_rows.tokens)
    assert longer.new_rows.tokens[0].piece == "天" and len(longer.processor) == longer.new_rows.end
    # Two rows served no token before: they are filled, and the matrix grows by the rest.
    assert len(embeddings(longer)) == longer.model.config.vocab_size == longer.new_rows.end
    assert longer.new_rows.names(longer.model) == ("bert.embeddings.word_embeddings.weight",)
    assert longer.blocks == map_blocks(longer.model)
    assert [block.parameters for block in longer.blocks.blocks] == [block.parameters for block in loaded.blocks.blocks]
    for name, tensor in longer.model.state_dict().items():
        same = tensor[:old] if name == "bert.embeddings.word_embeddings.weight" else tensor
        assert torch.equal(same, before[name][:old] if same is not tensor else before[name]), name
    assert longer.notes[0] == "before"


def test_rows_that_suffice_are_not_added_to() -> None:
    model = AutoModelForSequenceClassification.from_config(tiny.bert_config(vocab_size=100))
    longer = extend_vocabulary(make(model), TEXTS, section(), seed=0)
    assert len(embeddings(longer)) == longer.model.config.vocab_size == 100


def test_a_token_with_known_pieces_starts_from_their_mean() -> None:
    longer = extend_vocabulary(make(), TEXTS, section(), seed=0)
    matrix, rows = embeddings(longer), new_rows(longer)
    # A w within words starts from that at their beginning, ő from o, the full-width colon from the colon.
    assert torch.equal(rows["##w"], matrix[CASED["w"]])
    assert torch.equal(rows["##ő"], matrix[CASED["o"]])
    assert torch.equal(rows["："], matrix[CASED[":"]])
    assert torch.equal(rows["kő"], matrix[[CASED["k"], CASED["##o"]]].mean(dim=0))
    # Of aɣbɣ the half is known, of ɣ nothing.
    assert torch.allclose(rows["aɣbɣ"], matrix[[CASED["a"], CASED["b"]]].mean(dim=0))
    assert not any(torch.equal(rows["##ɣ"], row) for row in matrix[: len(PIECES)])
    assert "The new embeddings start: 5 from their known pieces, 3 around the mean of the known ones." in longer.notes


def test_the_others_start_around_the_mean_with_its_variance() -> None:
    loaded = make()
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight.mul_(torch.linspace(0.5, 5, 16)).add_(torch.linspace(-1, 1, 16))
        # Rows of special tokens and of none say nothing of words.
        loaded.model.get_input_embeddings().weight[: len(SPECIAL)] = 1e3
        loaded.model.get_input_embeddings().weight[len(PIECES) :] = 1e3
    known = embeddings(loaded)[len(SPECIAL) : len(PIECES)].clone()
    text = "".join(map(chr, range(0x5000, 0x5000 + 3000)))
    longer = extend_vocabulary(loaded, [text], section(), seed=0)
    new = torch.stack(list(new_rows(longer).values()))
    assert len(new) > 2900
    deviation = known.std(dim=0, correction=0)
    assert ((new.mean(dim=0) - known.mean(dim=0)).abs() < 5 * deviation / len(new) ** 0.5).all()
    assert torch.allclose(new.std(dim=0), deviation, rtol=0.1)


def test_the_draw_depends_on_the_seed_alone_and_leaves_other_streams_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    loaded = make()
    torch.set_rng_state(state)
    first = extend_vocabulary(loaded, TEXTS, section(), seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = (extend_vocabulary(make(), TEXTS, section(), seed=seed) for seed in (0, 1))
    assert torch.equal(embeddings(first), embeddings(again))
    assert not torch.equal(new_rows(first)["天"], new_rows(other)["天"])


def test_vectors_are_mapped_on_shared_tokens(tmp_path: Path) -> None:
    loaded = make()
    shared = [piece for piece in PIECES if len(piece) == 1]
    path = write_vectors(tmp_path / "v", [*shared, "天", "气", "##a", "中大"])
    vectors = {token: row for row, token in enumerate([*shared, "天", "气"])}
    source = load_file(f"{path}/vectors.safetensors")["embedding"]
    weights = torch.randn(4, 16)
    with torch.no_grad():
        table = loaded.model.get_input_embeddings().weight
        for token in shared:
            table[CASED[token]] = source[vectors[token]] @ weights + 0.3
    longer = extend_vocabulary(loaded, TEXTS, section(vocabulary_vectors=path), seed=0)
    rows = new_rows(longer)
    assert torch.allclose(rows["天"], source[vectors["天"]] @ weights + 0.3, atol=2e-2)
    assert torch.allclose(rows["气"], source[vectors["气"]] @ weights + 0.3, atol=2e-2)
    # What the file lacks starts as without it, and so does a character that the model knows in another place.
    assert torch.equal(rows["##w"], embeddings(longer)[CASED["w"]])
    assert torch.equal(rows["："], embeddings(longer)[CASED[":"]])
    assert longer.notes[2].startswith(f"The new embeddings start: 2 from the vectors in {path}, 5 from their known")
    assert f"least squares on {len(shared)} shared tokens; the map explains 100 %" in longer.notes[3]


def test_a_vector_goes_before_pieces(tmp_path: Path) -> None:
    shared = [piece for piece in PIECES if len(piece) == 1]
    path = write_vectors(tmp_path / "v", [*shared, "：", "kő"])
    longer = extend_vocabulary(make(), TEXTS, section(vocabulary_vectors=path), seed=0)
    assert not torch.equal(new_rows(longer)["："], embeddings(longer)[CASED[":"]])
    assert "start: 2 from the vectors" in longer.notes[2] and " 3 from their known pieces" in longer.notes[2]


def test_vectors_that_have_nothing_in_common_are_refused(tmp_path: Path) -> None:
    path = write_vectors(tmp_path / "v", ["天", "气", *PIECES[5:20]])
    with pytest.raises(RecipeError, match=r"15 tokens stand both in .* at least 20 are needed[^\n]*\n.*language"):
        extend_vocabulary(make(), TEXTS, section(vocabulary_vectors=path), seed=0)
    path = write_vectors(tmp_path / "v", [piece for piece in PIECES if len(piece) == 1])
    with pytest.raises(RecipeError, match=r"none of the 8 new tokens \(such as 天, .*\n.*remove the key"):
        extend_vocabulary(make(), TEXTS, section(vocabulary_vectors=path), seed=0)
    with pytest.raises(RecipeError, match=r"model\.vocabulary_vectors: there is no file"):
        extend_vocabulary(make(), TEXTS, section(vocabulary_vectors="nowhere"), seed=0)


def test_where_nothing_is_missing_nothing_is_added() -> None:
    loaded = make()
    longer = extend_vocabulary(loaded, ["a b 中"], section(), seed=0)
    assert longer.processor is loaded.processor and longer.new_rows is None
    assert longer.notes[1:] == (
        "The tokenizer can write all frequent characters and words of the training texts: no token was added.",
    )
    writes_bytes = replace(loaded, processor=BertTokenizer(vocab={"[PAD]": 0}, unk_token=None))
    assert "writes every text" in extend_vocabulary(writes_bytes, ["天"], section(), seed=0).notes[1]


def test_the_saved_model_loads_with_transformers_alone(tmp_path: Path) -> None:
    tiny.save_tiny(tmp_path / "base", make().model, make().processor)
    loaded = load_model(
        resolve_model(str(tmp_path / "base")),
        auto_class="AutoModelForSequenceClassification",
        labels=LABELS,
        section=section(),
        modality="text",
    )
    longer = extend_vocabulary(loaded, TEXTS, section(), seed=0)
    save_model(longer.model, longer.processor, tmp_path / "longer")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "longer")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "longer")
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
    assert inputs["input_ids"].equal(longer.processor(TEXTS, return_tensors="pt", padding=True)["input_ids"])
    assert not (inputs["input_ids"] == tokenizer.unk_token_id).any() and inputs["input_ids"].max() >= len(PIECES)
    with torch.inference_mode():
        assert torch.equal(model(**inputs).logits, longer.model(**inputs).logits)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5", "albert"])
def test_every_architecture_takes_longer_embeddings(architecture: str) -> None:
    loaded = replace(make(), processor=tiny.make_tokenizer())
    loaded = replace(loaded, model=tiny_architectures.make(architecture))
    longer = extend_vocabulary(loaded, ["ქარი thanks ხე ქარი"], section(), seed=0)
    assert longer.new_rows is not None
    first = len(tiny.WORDS)
    assert [token.piece for token in longer.new_rows.tokens] == ["ქარი", "ხე"] and longer.new_rows.first == first
    (name,) = longer.new_rows.names(longer.model)
    assert name in map_blocks(longer.model).embeddings.parameters
    # The rows are used: only theirs changes the logits of a text that holds them.
    inputs = {"input_ids": torch.tensor([[5, first, 6, 1]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    with torch.inference_mode():
        before = longer.model(**inputs).logits
        longer.new_rows.parameters[0][first] += torch.linspace(-1, 1, longer.new_rows.parameters[0].shape[1])
        assert not torch.equal(longer.model(**inputs).logits, before)


@pytest.mark.parametrize("tied", [True, False])
def test_the_matrix_of_a_language_model_head_grows_too(tied: bool) -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(tiny.bert_config(vocab_size=len(PIECES), tie_word_embeddings=tied))
    longer = extend_vocabulary(make(model), TEXTS, section(), seed=0)
    rows = longer.new_rows
    assert rows is not None and len(rows.parameters) == (1 if tied else 2)
    output = longer.model.get_output_embeddings().weight
    assert (output is longer.model.get_input_embeddings().weight) == tied
    assert len(output) == rows.end
    colon = next(index for index, token in enumerate(rows.tokens, rows.first) if token.piece == "：")
    assert torch.equal(output[colon], output[CASED[":"]])
    if not tied:
        names = rows.names(longer.model)
        assert names == ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight")
    with torch.inference_mode():
        assert longer.model(torch.tensor([[2, rows.first, 3]])).logits.shape[-1] == rows.end


def test_embeddings_that_cannot_grow_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise NotImplementedError("hashed characters")

    loaded = make()
    monkeypatch.setattr(loaded.model, "resize_token_embeddings", refuse)
    with pytest.raises(ModelError, match=r"\(bert\) cannot be extended: .*hashed characters"):
        extend_vocabulary(loaded, TEXTS, section(), seed=0)


def test_embeddings_that_were_replaced_are_not_found() -> None:
    longer = extend_vocabulary(make(), TEXTS, section(), seed=0)
    assert longer.new_rows is not None
    with pytest.raises(ModelError, match="put other embeddings in the place"):
        longer.new_rows.names(make().model)


def test_the_rate_is_a_multiple_of_the_base_rate_or_as_given() -> None:
    assert new_token_rate(section(), 2e-4) == pytest.approx(RATE_FACTOR * 2e-4)
    assert new_token_rate(section(vocabulary_learning_rate=3e-4), 2e-4) == 3e-4


def test_the_starter_maps_real_vectors(shared_data: Path) -> None:
    path = shared_data / "weights" / "tencent_char_embeddings_zh"
    titles = [line.split("\t")[0] for line in (shared_data / "thucnews_titles_zh" / "dev.txt").open(encoding="utf-8")]
    options = section(vocabulary_vectors=str(path), vocabulary_min_count=2)
    loaded = load_model(
        resolve_model("starter"),
        auto_class="AutoModelForSequenceClassification",
        labels=LABELS,
        section=options,
        modality="text",
    )
    longer = extend_vocabulary(loaded, titles, options, seed=0)
    rows = new_rows(longer)
    assert "on 274 shared tokens; the map explains 14 %" in longer.notes[-1]
    directions = torch.nn.functional.normalize(torch.stack(list(rows.values())) - embeddings(longer).mean(dim=0))
    near = directions @ directions[list(rows).index("球")]
    # Ball: among the ten nearest of 2,600 characters stand kick and court.
    assert {"踢", "场"} <= {list(rows)[index] for index in near.topk(10).indices}
    assert np.isfinite(directions.numpy()).all()
