"""The map of what trained."""

from __future__ import annotations

import re

from trimtab.evaluation.trained_map import COLUMNS, trained_map


def tensor(name: str, block: str, parameters: int, trained: int) -> dict[str, object]:
    return {"tensor": name, "block": block, "parameters": parameters, "trained": trained}


def test_there_is_no_map_where_everything_trains() -> None:
    assert trained_map([tensor("a", "head", 3, 3)]) == ""
    assert trained_map([]) == ""


def test_a_cell_is_as_full_as_the_share_that_trains() -> None:
    drawn = trained_map([tensor("a", "embeddings", 10, 0), tensor("b<", "head", 10, 5), tensor("c", "head", 4, 4)])
    shades = [float(found) for found in re.findall(r'fill-opacity="([\d.]+)"', drawn)]
    assert shades[0] < shades[1] < shades[2] == 1.0
    assert "b&lt;: 5 of 10 elements train" in drawn
    assert re.findall(r"<text[^>]*>([^<]*)</text>", drawn) == ["embeddings", "head"]


def test_a_block_of_many_tensors_takes_several_rows() -> None:
    drawn = trained_map([tensor(str(index), "block 0", 2, index % 2) for index in range(COLUMNS + 1)])
    heights = {int(found) for found in re.findall(r'<rect[^>]* y="(\d+)"', drawn)}
    assert len(heights) == 2
