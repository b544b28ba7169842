"""A map of what trained: a row for each block, a cell for each of its tensors, shaded by the share that trains."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

CELL, GAP, LABEL = 14, 2, 96
COLUMNS = 36


def trained_map(tensors: Sequence[Mapping[str, Any]]) -> str:
    """An SVG element; an empty string where everything trains, or nothing is known.

    Args:
        tensors: in depth order, each with `tensor` (its name), `block`, `parameters` and `trained` (numbers of
            elements).
    """
    if all(tensor["trained"] == tensor["parameters"] for tensor in tensors):
        return ""
    blocks: dict[str, list[Mapping[str, Any]]] = {}
    for tensor in tensors:
        blocks.setdefault(str(tensor["block"]), []).append(tensor)
    parts: list[str] = []
    top = 0
    for name, inside in blocks.items():
        parts.append(
            f'<text class="tick" x="{LABEL - 6}" y="{top + CELL - 3}" text-anchor="end">{html.escape(name)}</text>'
        )
        for index, tensor in enumerate(inside):
            row, column = divmod(index, COLUMNS)
            parts.append(_cell(tensor, LABEL + column * (CELL + GAP), top + row * (CELL + GAP)))
        top += (1 + (len(inside) - 1) // COLUMNS) * (CELL + GAP) + GAP
    width = LABEL + COLUMNS * (CELL + GAP)
    return (
        f'<svg class="chart" viewBox="0 0 {width} {top}" role="img" aria-label="Share of each tensor that trains">'
        f"{''.join(parts)}</svg>"
    )


def _cell(tensor: Mapping[str, Any], x: int, y: int) -> str:
    share = tensor["trained"] / max(1, tensor["parameters"])
    title = html.escape(f"{tensor['tensor']}: {tensor['trained']:,} of {tensor['parameters']:,} elements train")
    return (
        f'<rect class="cell" x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill-opacity="{0.08 + 0.92 * share:.2f}">'
        f"<title>{title}</title></rect>"
    )
