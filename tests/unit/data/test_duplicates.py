from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trimtab.data import image_duplicates, near_duplicates
from trimtab.data.duplicates import find_text_duplicates, normalise
from trimtab.data.image_duplicates import find_image_duplicates
from trimtab.data.near_duplicates import near_pairs, text_similarity

LONG = "the parcel was promised for monday and it still has not reached our office in leeds today"


def frame(
    texts: list[str], labels: list[str] | None = None, source: str = "data.csv", **columns: list[str]
) -> pd.DataFrame:
    labels = labels or ["a"] * len(texts)
    return pd.DataFrame({"text": texts, **columns, "label": labels, "row": range(1, len(texts) + 1), "source": source})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Where is\tmy  Order?! ", "where is my order"),
        ("ＡＢＣ　１２３", "abc 123"),
        ("“Straße”", "strasse"),
        ("良い。", "良い"),
        ("great :(", "great :("),
        ("???", "???"),
        ("", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


def brute_force(texts: list[str], size: int) -> set[tuple[int, int]]:
    sets = [{text[i : i + size] for i in range(len(text) - size + 1)} for text in texts]
    pairs = [(a, b) for b in range(len(texts)) for a in range(b)]
    return {(a, b) for a, b in pairs if len(sets[a] & sets[b]) / len(sets[a] | sets[b]) >= 0.8}


def found(texts: list[str]) -> set[tuple[int, int]]:
    pairs = near_pairs(texts)
    assert pairs.complete
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_near_pairs_are_those_of_brute_force(seed: int) -> None:
    draw = random.Random(seed)
    words = ["late", "order", "refund", "parcel", "please", "broken", "again", "account", "x"]
    bases = [" ".join(draw.choices(words, k=draw.randint(3, 25))) for _ in range(40)]
    texts = list(
        dict.fromkeys(bases + [f"{base}{draw.choice('s!x')}" for base in bases] + [base[1:] for base in bases])
    )
    texts = [text for text in texts if len(text.split()) >= near_duplicates.MIN_WORDS]
    expected = brute_force(texts, near_duplicates.CHARACTER_SHINGLE)
    assert len(expected) > 40
    assert found(texts) == expected


def test_near_pairs_of_chinese_are_those_of_brute_force() -> None:
    draw = random.Random(0)
    bases = ["".join(draw.choices("我的订单还没有到请退款账户密码登录不了", k=draw.randint(6, 30))) for _ in range(60)]
    texts = list(dict.fromkeys(bases + [base + "吗" for base in bases]))
    expected = brute_force(texts, near_duplicates.UNSPACED_SHINGLE)
    assert len(expected) > 40
    assert found(texts) == expected


def test_long_texts_are_compared_by_words_and_across_the_border() -> None:
    words = [f"word{number}" for number in range(100)]
    changed = [*words[:50], "other", *words[51:]]  # 95 of 101 word shingles in common
    half = [*words[:50], *(f"else{number}" for number in range(50))]
    assert found([" ".join(words), " ".join(changed), " ".join(half)]) == {(0, 1)}
    border = [" ".join(words[:29]), " ".join(words[:30])]
    assert found(border) == {(0, 1)}


def test_texts_of_two_words_have_no_near_duplicates() -> None:
    assert found(["not delivered", "not deliverd", "账户登录", "账户登陆"]) == set()
    assert text_similarity("not delivered", "not deliverd") == 0.0
    assert found([]) == set()


def test_a_search_cut_short_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "MAX_CANDIDATES", 10)
    pairs = near_pairs([f"my name is {'ab' * 20}{number:03d} and i like it" for number in range(50)])
    assert not pairs.complete


@pytest.fixture
def planted() -> dict[str, pd.DataFrame]:
    train = frame(
        [
            "where is my order",
            "Where is my order?",
            "i want a refund",
            "I want a refund!",
            "i want a refund",
            LONG,
            "ok",
        ],
        ["a", "a", "b", "c", "b", "a", "b"],
        "train.csv",
    )
    validation = frame(
        ["where is my order", "WHERE IS MY ORDER", LONG + " again", "hello there", "Ok."], ["a"] * 5, "v.csv"
    )
    test = frame(["hello there", "something else entirely happened"], ["a", "b"], "test.csv")
    return {"train": train, "validation": validation, "test": test}


def test_planted_duplicates_are_counted(planted: dict[str, pd.DataFrame]) -> None:
    result = find_text_duplicates(planted)
    assert (result.train.rows, result.train.equal, result.train.near) == (7, 3, 0)
    assert [(e["row"], e["other_row"]) for e in result.train.examples] == [(2, 1), (4, 3), (5, 3)]

    shared = {(entry.other, entry.split): entry for entry in result.shared}
    assert list(shared) == [("train", "validation"), ("train", "test"), ("validation", "test")]
    validation = shared["train", "validation"]
    assert (validation.identical, validation.equal, validation.near, validation.rows) == (1, 3, 1, 5)
    assert validation.share == pytest.approx(0.8)
    assert [(e["kind"], e["row"], e["other_row"]) for e in validation.examples] == [
        ("equal", 1, 1),
        ("equal", 2, 1),
        ("equal", 5, 7),
        ("near", 3, 6),
    ]
    assert validation.examples[0]["source"] == "v.csv"
    assert validation.examples[0]["other_source"] == "train.csv"
    assert (shared["train", "test"].equal, shared["train", "test"].near) == (0, 0)
    assert (shared["validation", "test"].equal, shared["validation", "test"].identical) == (1, 1)


def test_conflicting_labels_are_listed_with_their_rows(planted: dict[str, pd.DataFrame]) -> None:
    result = find_text_duplicates(planted)
    assert (result.conflict_groups, result.conflict_rows) == (2, 5)
    refund, ok = result.conflicts
    assert [(row["split"], row["row"], row["label"]) for row in refund.rows] == [
        ("train", 3, "b"),
        ("train", 4, "c"),
        ("train", 5, "b"),
    ]
    assert [(row["split"], row["row"], row["label"]) for row in ok.rows] == [("train", 7, "b"), ("validation", 5, "a")]


def test_near_duplicates_within_train_count_the_later_rows() -> None:
    result = find_text_duplicates({"train": frame([LONG, LONG + " again", LONG + " please", "something else here"])})
    assert (result.train.equal, result.train.near) == (0, 2)
    assert [(e["kind"], e["row"], e["other_row"]) for e in result.train.examples] == [("near", 2, 1), ("near", 3, 1)]


def test_pairs_are_duplicates_only_when_both_texts_are() -> None:
    def pairs(first: list[str], second: list[str]) -> pd.DataFrame:
        return frame(first, text_pair=second)

    train = pairs([LONG, LONG], ["a man is asleep at home", "yes"])
    validation = pairs(
        [LONG.upper(), LONG + " again", LONG, "a man is asleep at home"],
        ["A man is asleep at home.", "a man is asleep at home now", "no", LONG],
    )
    (shared,) = find_text_duplicates({"train": train, "validation": validation}).shared
    assert (shared.identical, shared.equal, shared.near) == (0, 1, 1)
    assert shared.examples[1]["row"] == 2


def test_large_training_data_are_sampled_and_held_out_rows_are_not() -> None:
    texts = [f"{number * 7919 % 1000} bottles stood on shelf {number}" for number in range(200)]
    splits = {"train": frame(texts), "validation": frame(["completely different text here", texts[3]])}
    result = find_text_duplicates(splits, max_train_rows=50)
    assert (result.near_rows, result.train_rows) == (50, 200)
    assert result.shared[0].equal == 1
    assert find_text_duplicates(splits, max_train_rows=50, seed=0) == result


def test_sst2_rows_shared_with_train(shared_data: Path) -> None:
    names = {"train": "train", "validation": "dev", "test": "test"}
    splits = {}
    for split, name in names.items():
        table = pd.read_csv(shared_data / "sst2" / f"{name}.tsv", sep="\t", keep_default_na=False)
        splits[split] = frame(table["sentence"].tolist(), table["label"].astype(str).tolist(), f"{name}.tsv")
    # Independent counts on the files' lines, header excluded: with it, 76 and 1 lines are shared.
    result = find_text_duplicates(splits, max_train_rows=5_000)
    validation, test, _ = result.shared
    assert (validation.rows, validation.identical, validation.equal) == (6_735, 75, 1_533)
    assert (test.rows, test.identical, test.equal) == (872, 0, 2)
    assert result.train.equal == 7_018


def save_image(path: Path, seed: int, *, size: int = 64, cells: int = 8, **options: int) -> str:
    from PIL import Image

    coarse = np.random.default_rng(seed).integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(path, **options)
    return str(path)


def images(paths: list[str], labels: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"image": paths, "label": labels, "row": range(1, len(paths) + 1), "source": "folder"})


def test_image_duplicates_by_bytes_and_by_look(tmp_path: Path) -> None:
    train = [save_image(tmp_path / f"{seed}.png", seed) for seed in range(6)]
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(train[0]).read_bytes())
    recoded = save_image(tmp_path / "recoded.jpg", 1, size=48, quality=80)
    other = save_image(tmp_path / "other.png", 77)
    splits = {
        "train": images([*train, str(copy)], ["a"] * 6 + ["b"]),
        "test": images([recoded, other, str(copy)], ["a"] * 3),
    }
    result, statistics = find_image_duplicates(splits)
    assert (result.train.equal, result.train.near) == (1, 0)
    (shared,) = result.shared
    assert (shared.identical, shared.equal, shared.near) == (1, 1, 1)
    assert [(e["kind"], e["row"], e["other_row"]) for e in shared.examples] == [("equal", 3, 1), ("near", 1, 2)]
    assert (result.conflict_groups, result.conflict_rows) == (1, 3)
    assert (statistics.images, statistics.files) == (8, 8)
    assert statistics.width == (48, 64, 64)
    assert statistics.modes == {"RGB": 8}
    assert statistics.unreadable == ()


def test_plain_images_are_not_near_duplicates(tmp_path: Path) -> None:
    from PIL import Image

    paths = []
    for level in (0, 60, 120, 180):
        paths.append(str(tmp_path / f"{level}.png"))
        Image.new("L", (20, 20), level).save(paths[-1])
    result, statistics = find_image_duplicates({"train": images(paths, ["a"] * 4)})
    assert (result.train.equal, result.train.near) == (0, 0)
    assert statistics.modes == {"L": 4}


def save_voice(path: Path, pitch: int) -> str:
    """A spectrogram of one vowel: harmonics that lie `pitch` pixels apart and die away, and silence around them."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", (128, 128))
    pen = ImageDraw.Draw(picture)
    for harmonic in range(127, 0, -pitch):
        for column in range(32):
            pen.line((48 + column, harmonic - 2, 48 + column, harmonic), fill=240 - 3 * column)
    picture.save(path)
    return str(path)


def test_pictures_that_share_their_dark_areas_are_not_near_duplicates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voices = images([save_voice(tmp_path / f"{pitch}.png", pitch) for pitch in (8, 9, 10, 11)], ["a"] * 4)
    pairs = [{"train": voices.iloc[[a]], "test": voices.iloc[[b]]} for b in range(4) for a in range(b)]

    def near() -> list[int]:
        return [find_image_duplicates(pair)[0].shared[0].near for pair in pairs]

    assert near() == [0] * 6
    monkeypatch.setattr(image_duplicates, "MAX_UNEXPLAINED", 1.0)
    assert near() == [1] * 6, "by their hashes and levels alone they are"


@pytest.mark.parametrize("seed", range(3))
def test_copies_of_a_textured_picture_are_near_duplicates(tmp_path: Path, seed: int) -> None:
    from PIL import Image, ImageEnhance

    with (
        Image.open(save_image(tmp_path / "shapes.png", seed, size=128)) as shapes,
        Image.open(save_image(tmp_path / "texture.png", seed + 100, size=128, cells=64)) as texture,
    ):
        original = Image.blend(shapes, texture, 0.3)
    names = ["saved_anew.jpg", "brightened.png", "scaled.png"]
    copies = [str(tmp_path / name) for name in names]
    original.save(tmp_path / "original.png")
    original.save(copies[0], quality=40)
    # By a tenth, the levels differ by more than 8 on average.
    ImageEnhance.Brightness(original).enhance(1.05).save(copies[1])
    original.resize((77, 77)).save(copies[2])
    splits = {"train": images([str(tmp_path / "original.png")], ["a"]), "test": images(copies, ["a"] * 3)}
    (shared,) = find_image_duplicates(splits)[0].shared
    assert [(e["kind"], e["row"], e["other_row"]) for e in shared.examples] == [("near", row, 1) for row in (1, 2, 3)]
    assert (shared.equal, shared.near) == (0, 3)


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a picture")
    torn = Path(save_image(tmp_path / "torn.png", 3))
    torn.write_bytes(torn.read_bytes()[:-40])
    good = save_image(tmp_path / "good.png", 4)
    missing = str(tmp_path / "missing.png")
    _, statistics = find_image_duplicates({"train": images([str(broken), str(torn), good, missing], ["a"] * 4)})
    assert sorted(path for path, _ in statistics.unreadable) == sorted([str(broken), str(torn), missing])
    assert (statistics.images, statistics.files) == (1, 4)
