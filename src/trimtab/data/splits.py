"""Held-out splits: stratified by class, seeded, whole groups, and never a text on both sides.

Rows with equal texts (in the data report's sense, `duplicates.normalise`) or the same image bytes form a unit, and so
do rows of one group; a unit goes into one split as a whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from trimtab.core.errors import DataError
from trimtab.core.files import sha256_of
from trimtab.core.seeds import stream
from trimtab.data.duplicates import normalise

FEWEST_ROWS = 10


def hold_out(
    frame: pd.DataFrame, fractions: dict[str, float], *, max_rows: int, seed: int
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Cut stratified parts off a canonical frame, one after the other.

    Without groups and repeated texts, each class gets its share of a part to within one row. Groups and repeated
    texts are kept whole, as near to these shares as they allow. Every class keeps a row.

    Args:
        frame: canonical rows with `label`.
        fractions: parts to cut, by name: each part's share of all rows of `frame`. The name selects the random stream.
        max_rows: most rows of each part.
        seed: the run's seed.

    Returns:
        The rows that stay, and the parts by name, all in their original order with a fresh index.

    Raises:
        DataError: fewer than 10 rows, or nothing can be held out without breaking up a group.
    """
    rest, parts, unit, rows = frame, {}, units(frame), len(frame)
    for name, fraction in fractions.items():
        if len(rest) < FEWEST_ROWS:
            raise DataError(
                f"{len(rest)} rows are too few to hold out a {name} split; at least {FEWEST_ROWS} are needed.",
                remedy=f"Add rows, or give the {name} rows in a file of their own with --{name} FILE.",
            )
        held = _hold_out_one(rest, unit, max(1, min(round(fraction * rows), max_rows)), max_rows, seed, name)
        parts[name] = rest[held].reset_index(drop=True)
        rest, unit = rest[~held].reset_index(drop=True), unit[~held]
    return rest, parts


def _hold_out_one(
    frame: pd.DataFrame, unit: np.ndarray, wanted: int, max_rows: int, seed: int, name: str
) -> np.ndarray:
    """Which rows are held out for one part, bool [rows]."""
    codes, _ = pd.factorize(frame["label"], sort=True)
    cut = _Cut(codes, unit, apportion(np.bincount(codes), wanted), np.zeros(len(frame), dtype=bool), max_rows)
    _take_units(cut, stream(seed, "split", name, "units"))
    _take_single_rows(cut, stream(seed, "split", name, "rows"))
    if not cut.held.any() and not _force_one_unit(cut):
        raise DataError(
            f"No {name} split can be held out: every class, or nearly every row, belongs to one group or is one text.",
            remedy=f"Choose another --group column, or give the {name} rows with --{name} FILE.",
        )
    return cut.held


def sample_rows(frame: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """A stratified sample of `rows` rows, at least one a class, in the original order.

    Raises:
        DataError: fewer rows than classes are asked for.
    """
    if rows >= len(frame):
        return frame
    codes, names = pd.factorize(frame["label"], sort=True)
    if rows < len(names):
        raise DataError(
            f"data.max_rows is {rows}, and there are {len(names)} classes.", remedy=f"Set it to {len(names)} or more."
        )
    counts = np.bincount(codes)
    # One row a class is set aside first, the rest is shared out.
    quota = 1 + apportion(counts, rows - len(names), ceilings=counts - 1)
    generator = stream(seed, "sample")
    chosen = [generator.permutation(np.flatnonzero(codes == code))[:n] for code, n in enumerate(quota.tolist())]
    return frame.iloc[np.sort(np.concatenate(chosen))].reset_index(drop=True)


def apportion(counts: np.ndarray, total: int, ceilings: np.ndarray | None = None) -> np.ndarray:
    """Share `total` out over classes in proportion to their counts, by the largest remainder.

    Args:
        counts: rows of each class, int [classes].
        total: rows to share out.
        ceilings: most rows of each class, int [classes]; one less than its count when None.

    Returns:
        Rows of each class, int [classes], each within one of its exact share and at most its ceiling.
    """
    ceilings = counts - 1 if ceilings is None else ceilings
    exact = counts * total / max(1, counts.sum())
    shares = np.minimum(np.floor(exact).astype(np.int64), ceilings)
    order = np.argsort(-(exact - np.floor(exact)), kind="stable")
    open_to_more = order[shares[order] < ceilings[order]]
    shares[open_to_more[: max(0, total - int(np.floor(exact).sum()))]] += 1
    return shares


def units(frame: pd.DataFrame) -> np.ndarray:
    """For each row the number of the unit that stays together, int [rows]: same content, same group, or linked."""
    content = _content_codes(frame)
    if "group" not in frame:
        return content
    rows = len(frame)
    named = np.asarray(frame["group"] != "")
    # A row without a group value is a group of its own.
    groups, values = pd.factorize(frame["group"])
    groups = np.where(named, groups, len(values) + np.arange(rows))
    size = int(content.max()) + 1 + int(groups.max()) + 1
    links = coo_matrix((np.ones(rows, dtype=np.int8), (content, groups + int(content.max()) + 1)), shape=(size, size))
    _, component = connected_components(links, directed=False)
    return pd.factorize(component[content])[0]


@dataclass
class _Cut:
    """A cut in progress: class and unit of each row, wanted rows of each class, rows held out so far, most rows."""

    codes: np.ndarray
    unit: np.ndarray
    quota: np.ndarray
    held: np.ndarray
    max_rows: int

    def rows_of_units(self) -> dict[int, np.ndarray]:
        """Row positions of each unit that has several rows."""
        sizes = np.bincount(self.unit)
        rows = np.flatnonzero(sizes[self.unit] > 1)
        rows = rows[np.argsort(self.unit[rows], kind="stable")]
        numbers, starts = np.unique(self.unit[rows], return_index=True)
        return dict(zip(numbers.tolist(), np.split(rows, starts[1:]), strict=False)) if len(rows) else {}


def _take_units(cut: _Cut, generator: np.random.Generator) -> None:
    """Hold out whole units, in random order, as long as each brings the classes nearer to their shares."""
    members = cut.rows_of_units()
    if not members:
        return
    total = np.bincount(cut.codes)
    inside = np.bincount(cut.codes[np.concatenate(list(members.values()))], minlength=len(total))
    target = (cut.quota * inside / total).tolist()
    held, left, taken = [0] * len(total), total.tolist(), 0
    for number in generator.permutation(np.array(list(members), dtype=np.int64)).tolist():
        classes = Counter(cut.codes[members[number]].tolist())
        nearer = sum(count * (2 * (held[code] - target[code]) + count) for code, count in classes.items()) < 0
        fits = taken + len(members[number]) <= cut.max_rows
        if nearer and fits and all(left[code] > count for code, count in classes.items()):
            cut.held[members[number]] = True
            taken += len(members[number])
            for code, count in classes.items():
                held[code] += count
                left[code] -= count


def _take_single_rows(cut: _Cut, generator: np.random.Generator) -> None:
    """Fill up each class from the rows that stand alone."""
    alone = np.bincount(cut.unit)[cut.unit] == 1
    for code, wanted in enumerate(cut.quota.tolist()):
        of_class = cut.codes == code
        candidates = generator.permutation(np.flatnonzero(of_class & alone))
        held = int(cut.held[of_class].sum())
        most = min(int(of_class.sum()) - held - 1, cut.max_rows - int(cut.held.sum()))
        cut.held[candidates[: max(0, min(wanted - held, most))]] = True


def _force_one_unit(cut: _Cut) -> bool:
    """Hold out the smallest unit that leaves every class a row; whether there is one."""
    total = np.bincount(cut.codes)
    for rows in sorted(cut.rows_of_units().values(), key=lambda rows: (len(rows), int(rows[0]))):
        taken = np.bincount(cut.codes[rows], minlength=len(total))
        if len(rows) <= cut.max_rows and bool((taken < total).all()):
            cut.held[rows] = True
            return True
    return False


def _content_codes(frame: pd.DataFrame) -> np.ndarray:
    """A number for each different content, int [rows]."""
    if "image" in frame:
        return pd.factorize(np.array(_image_keys(frame["image"].tolist()), dtype=object))[0]
    keys = [normalise(text) for text in frame["text"].tolist()]
    if "text_pair" in frame:
        pairs = [normalise(text) for text in frame["text_pair"].tolist()]
        keys = [f"{first}\n{second}" for first, second in zip(keys, pairs, strict=True)]
    return pd.factorize(np.array(keys, dtype=object))[0]


def _image_keys(paths: list[str]) -> list[str]:
    """A key for each file: its size, and its SHA-256 where another file has the same size."""
    sizes = [Path(path).stat().st_size for path in paths]
    common = Counter(sizes)
    return [
        f"{size}:{sha256_of(Path(path))}" if common[size] > 1 else str(size)
        for path, size in zip(paths, sizes, strict=True)
    ]
