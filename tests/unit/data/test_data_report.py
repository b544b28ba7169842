from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from transformers import BertTokenizer, PreTrainedTokenizerBase

from trimtab.config.recipe import DataSection
from trimtab.core.errors import DataError
from trimtab.data.dataset import Columns, Dataset
from trimtab.data.findings import imbalance_ratio, percent
from trimtab.data.report import DataFinding, DataReport, data_report

NOUNS = ["river", "engine", "garden", "letter", "window", "bottle", "teacher", "candle", "mirror", "market"]
VERBS = ["crossed", "repaired", "watered", "posted", "opened", "emptied", "thanked", "lit", "broke", "visited"]


def sentences(count: int, start: int = 0) -> list[str]:
    """Different sentences, no two of them nearly equal."""
    return [f"{NOUNS[n % 10]} {n * 7919} {VERBS[n // 10 % 10]} {n * 104729}" for n in range(start, start + count)]


def frame(texts: list[str], labels: list[str], source: str = "data.csv") -> pd.DataFrame:
    return pd.DataFrame({"text": texts, "label": labels, "row": range(1, len(texts) + 1), "source": source})


def dataset(splits: dict[str, pd.DataFrame], held_out: tuple[str, ...] = (), **options: object) -> Dataset:
    labels = tuple(sorted(set().union(*(set(frame["label"]) for frame in splits.values()))))
    columns = options.pop("columns", Columns(text=("message",), label="intent"))
    assert isinstance(columns, Columns)
    return Dataset(
        splits=splits,
        columns=columns,
        task="text-classification",
        labels=labels,
        name="tickets",
        notes=("2 rows with an empty text were dropped.",),
        held_out=held_out,
        fingerprint={},
    )


def report(splits: dict[str, pd.DataFrame], **options: object) -> DataReport:
    held_out = options.pop("held_out", ())
    assert isinstance(held_out, tuple)
    return data_report(dataset(splits, held_out), options=DataSection(), **options)  # type: ignore[arg-type]


def only(found: DataReport, name: str) -> DataFinding:
    matching = [finding for finding in found.findings if finding.name == name]
    assert len(matching) == 1, [finding.name for finding in found.findings]
    return matching[0]


@pytest.fixture
def clean() -> dict[str, pd.DataFrame]:
    return {
        "train": frame(sentences(400), ["a", "b"] * 200),
        "validation": frame(sentences(150, 400), ["a", "b"] * 75),
    }


@pytest.fixture
def tokenizer(tmp_path: Path) -> PreTrainedTokenizerBase:
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *NOUNS,
        *VERBS,
        *"0123456789",
        *(f"##{d}" for d in range(10)),
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    return BertTokenizer.from_pretrained(str(tmp_path))  # type: ignore[no-any-return]


def test_clean_data_have_no_findings(clean: dict[str, pd.DataFrame], tokenizer: PreTrainedTokenizerBase) -> None:
    found = report(clean, tokenizer=tokenizer, max_length=64)
    assert found.findings == ()
    assert found.rows == {"train": 400, "validation": 150}
    assert found.labels == {"train": {"a": 200, "b": 200}, "validation": {"a": 75, "b": 75}}
    assert found.imbalance == 1.0
    assert found.columns == {"text": ["message"], "label": ["intent"]}
    assert found.tokens is not None and found.tokens.total_rows == 550 and found.tokens.unknown == 0
    found.raise_if_refused()


@pytest.mark.parametrize(("unknown_rows", "severity"), [(0, None), (4, None), (16, "warning"), (400, "refuse")])
def test_unknown_tokens_by_share(
    clean: dict[str, pd.DataFrame], tokenizer: PreTrainedTokenizerBase, unknown_rows: int, severity: str | None
) -> None:
    texts = clean["train"]["text"].tolist()
    clean["train"]["text"] = [f"{text} {'退' * 20}" if row < unknown_rows else text for row, text in enumerate(texts)]
    found = report(clean, tokenizer=tokenizer, max_length=None, model_name="starter")
    severities = [finding.severity for finding in found.findings if finding.name == "unknown_tokens"]
    assert severities == ([severity] if severity else [])
    assert bool(found.refusals) == (severity == "refuse")


def test_refusal_names_script_models_and_force(
    clean: dict[str, pd.DataFrame], tokenizer: PreTrainedTokenizerBase
) -> None:
    clean["train"]["text"] = ["请给我退款谢谢" * 4 + text for text in sentences(400)]
    found = report(clean, tokenizer=tokenizer, model_name="starter")
    with pytest.raises(DataError) as caught:
        found.raise_if_refused()
    message = str(caught.value)
    assert "% of the tokens (such as " in message
    assert "unknown to starter, which reads English only. Most letters in them are Han." in message
    assert "--model bert-base-chinese or --model xlm-roberta-base, teach this one the tokens with" in message
    assert "with --extend-vocabulary, or train anyway with --force" in message
    found.raise_if_refused(force=True)

    other = only(report(clean, tokenizer=tokenizer, model_name="bert-base-chinese"), "unknown_tokens")
    assert "--model bert-base-chinese" not in other.remedy
    assert "reads English only" not in other.message


def test_limits_come_from_the_recipe(clean: dict[str, pd.DataFrame], tokenizer: PreTrainedTokenizerBase) -> None:
    for part in clean.values():
        part["text"] = part["text"] + " 退"
    options = DataSection(warn_unknown_tokens=0.9, max_unknown_tokens=0.95)
    assert data_report(dataset(clean), tokenizer=tokenizer, options=options).findings == ()
    options = DataSection(warn_unknown_tokens=0.0, max_unknown_tokens=0.01)
    assert data_report(dataset(clean), tokenizer=tokenizer, options=options).refusals[0].name == "unknown_tokens"


def test_long_texts(clean: dict[str, pd.DataFrame], tokenizer: PreTrainedTokenizerBase) -> None:
    clean["train"].loc[:10, "text"] = [f"{text} {'river ' * 60}" for text in sentences(11)]
    finding = only(report(clean, tokenizer=tokenizer, max_length=40), "long_texts")
    assert finding.severity == "info"
    assert finding.evidence["share"] == 11 / 550


def test_leakage_and_its_remedy(clean: dict[str, pd.DataFrame]) -> None:
    clean["validation"].loc[:2, "text"] = sentences(3)
    clean["validation"].loc[3, "text"] = sentences(1, 5)[0].upper() + " !"
    clean["test"] = frame([*sentences(149, 600), sentences(1, 10)[0]], ["a", "b"] * 75)
    found = report(clean, held_out=("test",))
    validation, test = (finding for finding in found.findings if finding.name == "leakage")
    assert validation.severity == "warning"
    assert validation.evidence["share"] == 4 / 150
    assert (validation.evidence["identical"], validation.evidence["equal"], validation.evidence["near"]) == (3, 4, 0)
    assert validation.message.startswith("4 of 150 (2.7 %) validation rows stand in train too")
    assert validation.remedy == "Remove these rows from the train or from the validation data."
    assert test.evidence["equal"] == 1
    assert "--group" in test.remedy
    assert len(validation.evidence["examples"]) == 4
    found.raise_if_refused()


def test_rows_shared_by_validation_and_test(clean: dict[str, pd.DataFrame]) -> None:
    clean["test"] = clean["validation"].copy()
    found = report(clean)
    assert only(found, "shared_held_out").evidence["identical"] == 150
    assert [finding.name for finding in found.findings] == ["shared_held_out"]


def test_repeated_rows_and_conflicts(clean: dict[str, pd.DataFrame]) -> None:
    first = sentences(1)[0]
    clean["train"].loc[[2, 5], "text"] = first  # labels a, a, b
    found = report(clean)
    repeated = only(found, "duplicates_in_train")
    assert (repeated.severity, repeated.evidence["equal"], repeated.evidence["share"]) == ("info", 2, 2 / 400)
    conflict = only(found, "conflicting_labels")
    assert (conflict.severity, conflict.evidence["groups"], conflict.evidence["rows"]) == ("warning", 1, 3)
    assert "train row 1 'a', train row 3 'a', train row 6 'b'" in conflict.message
    assert [row["row"] for row in conflict.evidence["listed"][0]["rows"]] == [1, 3, 6]

    clean["train"].loc[20:60, "text"] = first
    assert only(report(clean), "duplicates_in_train").severity == "warning"


def test_imbalance_and_small_classes() -> None:
    splits = {"train": frame(sentences(209), ["big"] * 200 + ["rare"] * 9)}
    found = report(splits)
    assert found.imbalance == pytest.approx(200 / 9)
    assert only(found, "imbalance").evidence == {"ratio": 200 / 9, "largest": "big", "smallest": "rare"}
    assert only(found, "few_rows").evidence["classes"] == {"rare": 9}
    assert "'rare' (9)" in only(found, "few_rows").message
    splits = {"train": frame(sentences(109), ["big"] * 99 + ["less"] * 10)}
    assert report(splits).findings == ()


def test_imbalance_ratio_of_absent_classes() -> None:
    assert imbalance_ratio({}) is None
    assert imbalance_ratio({"a": 0}) is None
    assert imbalance_ratio({"a": 3, "b": 0}) == float("inf")


def test_label_shift_needs_a_distance_beyond_chance(clean: dict[str, pd.DataFrame]) -> None:
    clean["validation"]["label"] = ["a"] * 110 + ["b"] * 40
    finding = only(report(clean), "label_shift")
    assert finding.evidence == {"split": "validation", "total_variation": pytest.approx(110 / 150 - 0.5)}
    # Ten rows of 6 to 4 are as far from half and half as chance allows.
    clean["validation"] = frame(sentences(10, 400), ["a"] * 6 + ["b"] * 4)
    assert "label_shift" not in [finding.name for finding in report(clean).findings]


@pytest.mark.parametrize(("rows", "small"), [(138, True), (139, False)])
def test_small_validation_split(clean: dict[str, pd.DataFrame], rows: int, small: bool) -> None:
    clean["validation"] = clean["validation"].head(rows)
    found = report(clean, held_out=("validation",))
    assert [finding.name for finding in found.findings] == ["small_held_out"] * small
    if small:
        assert found.findings[0].severity == "info"
        assert found.findings[0].evidence["half_width"] == pytest.approx(0.05005, abs=1e-5)
        assert "data.validation_fraction" in found.findings[0].remedy


def test_worst_findings_come_first(clean: dict[str, pd.DataFrame], tokenizer: PreTrainedTokenizerBase) -> None:
    clean["train"]["text"] = ["退款" * 20 + text for text in clean["train"]["text"]]
    clean["validation"] = frame([clean["train"]["text"][0]] * 3, ["a", "b", "a"])
    found = report(clean, tokenizer=tokenizer)
    severities = [finding.severity for finding in found.findings]
    assert severities == sorted(severities, key=["refuse", "warning", "info"].index)
    assert severities[0] == "refuse" and severities[-1] == "info"


def test_to_dict_is_json(clean: dict[str, pd.DataFrame], tokenizer: PreTrainedTokenizerBase) -> None:
    clean["validation"].loc[0, "text"] = sentences(1)[0]
    content = report(clean, tokenizer=tokenizer, max_length=64).to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["label_shares"]["train"] == {"a": 0.5, "b": 0.5}
    assert content["tokens"]["unknown_share"] == 0.0
    assert content["duplicates"]["shared"][0]["share"] == 1 / 150
    assert [finding["name"] for finding in content["findings"]] == ["leakage"]


def test_markdown(clean: dict[str, pd.DataFrame], tokenizer: PreTrainedTokenizerBase) -> None:
    clean["train"]["label"] = clean["train"]["label"].replace("a", "a|<b>")
    clean["validation"]["label"] = clean["validation"]["label"].replace("a", "a|<b>")
    clean["validation"].loc[0, "text"] = sentences(1)[0]
    text = report(clean, tokenizer=tokenizer, max_length=64, held_out=("validation",)).to_markdown()
    assert text.startswith("# Data report: tickets\n")
    assert "- Rows: 400 train, 150 validation (held out)" in text
    assert "| a\\|\\<b\\> | 200 (50 %) | 75 (50 %) |" in text
    assert "- **warning** `leakage`: 1 of 150 (0.67 %) validation rows" in text
    assert "validation row 1 (a|\\<b\\>)" in text
    assert "- 2 rows with an empty text were dropped." in text
    assert "- Unknown to the model: 0 %" in text


def test_images_are_reported_without_tokens(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    import numpy as np
    from PIL import Image

    paths = []
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 16, 3), dtype=np.uint8)
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(pixels).save(paths[-1])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"text")
    train = pd.DataFrame(
        {"image": [*paths, str(broken)], "label": ["a"] * 10 + ["b"] * 11, "row": range(1, 22), "source": "folder"}
    )
    data = dataset({"train": train}, columns=Columns(image="image", label="label"))
    found = data_report(data, tokenizer=tokenizer, options=DataSection())
    assert found.tokens is None
    assert found.images is not None
    assert (found.images.width, found.images.height) == ((16, 16, 16), (24, 24, 24))
    assert [finding.name for finding in found.refusals] == ["unreadable_images"]
    assert str(broken) in found.refusals[0].message
    assert "- Width: 16 to 16, median 16 pixels" in found.to_markdown()


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (0.00234, "0.23 %"), (0.0226, "2.3 %"), (0.5, "50 %"), (1.0, "100 %")]
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text
