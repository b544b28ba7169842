"""The slow searches of the data report, kept for later reports on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from trimtab.core.cache import DiskCache, cached_json, content_key
from trimtab.core.files import jsonable
from trimtab.data.duplicates import Conflict, Duplicates, Repeats, Shared, find_text_duplicates
from trimtab.data.giveaway import Giveaways, find_giveaways
from trimtab.data.image_duplicates import ImageStatistics, find_image_duplicates
from trimtab.data.image_store import file_key
from trimtab.data.shift import Shift, find_shifts
from trimtab.data.token_store import tokenizer_identity
from trimtab.data.tokens import TokenStatistics, token_statistics

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 3
"""Part of every key: raised when a search finds something else in the same rows."""
FEWEST_TEXTS = 2_000
FEWEST_IMAGES = 200
"""Fewer rows are searched in an instant, and would only litter the cache."""
_ROW_COLUMNS = ("text", "text_pair", "image", "label", "row", "source")

Splits = dict[str, pd.DataFrame]


def text_duplicates(splits: Splits, seed: int, cache: DiskCache | None) -> Duplicates:
    """`find_text_duplicates`, from the cache where these rows were searched before."""
    if cache is None or _rows(splits) < FEWEST_TEXTS:
        return find_text_duplicates(splits, seed=seed)
    key = content_key("text duplicates", FORMAT, seed, _content(splits))
    return _duplicates(_kept(cache, key, lambda: asdict(find_text_duplicates(splits, seed=seed))))


def image_duplicates(splits: Splits, seed: int, cache: DiskCache | None) -> tuple[Duplicates, ImageStatistics]:
    """`find_image_duplicates`, from the cache where these files were searched before.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    if cache is None or _rows(splits) < FEWEST_IMAGES:
        return find_image_duplicates(splits, seed=seed)

    def search() -> dict[str, Any]:
        found, images = find_image_duplicates(splits, seed=seed)
        return {"duplicates": asdict(found), "images": asdict(images)}

    values = _kept(cache, content_key("image duplicates", FORMAT, seed, _content(splits), _files(splits)), search)
    images = values["images"]
    for name in ("width", "height"):
        images[name] = tuple(images[name])
    images["unreadable"] = tuple(map(tuple, images["unreadable"]))
    return _duplicates(values["duplicates"]), ImageStatistics(**images)


def giveaways(splits: Splits, seed: int, cache: DiskCache | None) -> Giveaways:
    """`find_giveaways`, from the cache where these rows were searched before.

    Raises:
        MissingDependencyError: the data are images and Pillow is not installed.
    """
    if cache is None or _too_few(splits):
        return find_giveaways(splits, seed=seed)
    key = content_key("giveaways", FORMAT, seed, _content(splits), _files(splits))
    return Giveaways.from_dict(_kept(cache, key, lambda: asdict(find_giveaways(splits, seed=seed))))


def shifts(splits: Splits, held_out: Sequence[str], seed: int, cache: DiskCache | None) -> list[Shift]:
    """`find_shifts`, from the cache where these rows were compared before.

    Raises:
        MissingDependencyError: the data are images and Pillow is not installed.
    """

    def search() -> dict[str, Any]:
        return {"shifts": [asdict(shift) for shift in find_shifts(splits, held_out, seed=seed)]}

    if cache is None or _too_few(splits) or not set(splits) - {"train", *held_out}:
        return find_shifts(splits, held_out, seed=seed)
    key = content_key("shifts", FORMAT, seed, _content(splits), _files(splits), sorted(held_out))
    return [
        Shift(**{**shift, "rows": tuple(shift["rows"]), "typical": tuple(shift["typical"])})
        for shift in _kept(cache, key, search)["shifts"]
    ]


def counted_tokens(
    splits: Splits, tokenizer: PreTrainedTokenizerBase, max_length: int | None, seed: int, cache: DiskCache | None
) -> TokenStatistics:
    """`token_statistics` of the texts of all splits, from the cache where they were counted before.

    Args:
        splits: frames with `text`, and `text_pair` for pairs.
        tokenizer: of the model.
        max_length: most tokens that the model reads.
        seed: seed of the sample.
        cache: None counts anew.
    """
    texts = [text for frame in splits.values() for text in frame["text"]]
    pairs = None
    if all("text_pair" in frame for frame in splits.values()):
        pairs = [text for frame in splits.values() for text in frame["text_pair"]]
    identity = None if cache is None or len(texts) < FEWEST_TEXTS else tokenizer_identity(tokenizer)
    if identity is None:
        return token_statistics(texts, tokenizer, max_length, pairs=pairs, seed=seed)
    key = content_key("token statistics", FORMAT, seed, identity, max_length, texts, pairs)
    values = _kept(cache, key, lambda: asdict(token_statistics(texts, tokenizer, max_length, pairs=pairs, seed=seed)))
    return TokenStatistics(**{**values, "top_unknown": tuple(map(tuple, values["top_unknown"]))})


def _kept(cache: DiskCache | None, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = cached_json(cache, key, lambda: jsonable(make()))
    return values


def _rows(splits: Splits) -> int:
    return sum(map(len, splits.values()))


def _too_few(splits: Splits) -> bool:
    images = any("image" in frame for frame in splits.values())
    return _rows(splits) < (FEWEST_IMAGES if images else FEWEST_TEXTS)


def _files(splits: Splits) -> list[str]:
    """What tells whether image files have changed; empty for texts."""
    return [str(file_key(path)) for frame in splits.values() if "image" in frame for path in frame["image"]]


def _content(splits: Splits) -> dict[str, dict[str, list[Any]]]:
    """All that a search reads of the rows."""
    return {
        split: {name: frame[name].tolist() for name in _ROW_COLUMNS if name in frame}
        for split, frame in sorted(splits.items())
    }


def _duplicates(values: dict[str, Any]) -> Duplicates:
    """The duplicates that `asdict` and JSON made plain."""
    return Duplicates(
        **{
            **values,
            "train": _with_examples(Repeats, values["train"]),
            "shared": tuple(_with_examples(Shared, shared) for shared in values["shared"]),
            "conflicts": tuple(Conflict(group["content"], tuple(group["rows"])) for group in values["conflicts"]),
        }
    )


def _with_examples(kind: Callable[..., Any], values: dict[str, Any]) -> Any:
    return kind(**{**values, "examples": tuple(values["examples"])})
