"""How far the lower half of the blocks has gone from the pretrained model: a sign of what it may be losing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from trimtab.monitor.trace import number

# Drift (1 - cosine) on a few rows: below 0.1 in small runs of the starter at its usual rate, 0.65 to 1.0 at five and
# ten times that.
LOWER_DRIFT, LOST_DRIFT = 0.35, 0.60


def lower_drift(inspection: Mapping[str, Any]) -> float:
    """Median drift of the lower half of the blocks, in depth order; NaN where it was not measured.

    Args:
        inspection: fields of an `inspection` event.
    """
    lower = lower_half(inspection.get("drift") or {})
    return float(np.median(lower)) if lower else math.nan


def has_drifted(inspection: Mapping[str, Any]) -> bool:
    """Whether it is so far that what is being lost is worth measuring."""
    return lower_drift(inspection) > LOST_DRIFT


def lower_half(by_block: Mapping[str, Any]) -> list[float]:
    """The finite values of the lower half of the blocks, which are in depth order."""
    values = [number(value) for value in by_block.values()]
    return [value for value in values[: max(1, len(values) // 2)] if math.isfinite(value)]
