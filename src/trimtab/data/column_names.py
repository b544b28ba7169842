"""Column names that tell what a column holds, the surest first, in English and Chinese."""

from __future__ import annotations


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split(" "))


TEXT_TIERS: tuple[frozenset[str], ...] = (
    _names("text sentence 文本 句子"),
    _names(
        "content review comment tweet message utterance question title body description document post query headline "
        "abstract summary phrase news texts sentences reviews 内容 评论 标题 问题 正文"
    ),
)
LABEL_TIERS: tuple[frozenset[str], ...] = (
    _names("label 标签"),
    _names(
        "labels class category intent target sentiment topic y coarse fine coarse_label fine_label label_name "
        "label_text classification emotion toxic toxicity spam polarity 类别 分类 意图 情感"
    ),
    _names("rating stars score type genre tag outcome"),
)
PAIRS: tuple[tuple[str, str], ...] = (
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("text", "text_pair"),
)
KNOWN_NAMES: frozenset[str] = frozenset().union(*TEXT_TIERS, *LABEL_TIERS, *PAIRS)
