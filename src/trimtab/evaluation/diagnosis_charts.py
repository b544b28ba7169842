"""Plots of the doctor: those behind a finding, and an overview of a run's record."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from trimtab.evaluation.svg import Series, line_chart
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Floats, Trace
from trimtab.monitor.wording import title_of

MOST_LINES = 6
"""Lines of one plot: as many as the style sheet has colours."""

# Our choice: curves whose largest values are this many times apart do not go on one plot, where the lower would be
# flat; values this many times apart go on a logarithmic axis.
OTHER_SCALE = 20.0
LOGARITHMIC = 300.0

TRAINING, VALIDATION, SAMPLE = 0, 1, 2
"""Colours, the same on every plot."""


def finding_charts(finding: Finding) -> list[str]:
    """The plots of a finding's series as SVG, like scales together; the step since which it holds is marked."""
    at = float(finding.since) if finding.since > 0 and finding.x_label == "step" else None
    charts = []
    for curves in _like_scales(finding.series):
        title = curves[0].name if len(curves) == 1 else title_of(finding.name)
        series = [_series(curve.name, curve.steps, curve.values, index) for index, curve in enumerate(curves)]
        charts.append(_chart(title, series, x_label=finding.x_label, mark=at))
    return [chart for chart in charts if chart]


def overview_charts(trace: Trace) -> list[str]:
    """Loss, gap, metric, learning rate, gradient norm and update ratios, those for which there are values."""
    steps, (at, validation), (_, sample) = trace.steps, trace.evaluated("loss"), trace.evaluated("loss", held_in=True)
    losses = [
        _series("training", steps, trace.column("loss"), TRAINING),
        _series("training sample", at, sample, SAMPLE),
        _series("validation", at, validation, VALIDATION),
    ]
    charts = [
        _chart("Loss", _with_values(losses)),
        _chart(
            "Gap of the loss: validation less training sample", [_series("gap", at, validation - sample, VALIDATION)]
        ),
        *(_metric_chart(trace, name) for name in _metrics(trace)),
        line_chart("Learning rate", [_series("learning rate", steps, trace.column("learning_rate"), TRAINING)]),
        _chart("Gradient norm", [_series("gradient norm", steps, trace.column("grad_norm"), TRAINING)]),
        *signal_charts(trace),
    ]
    return [chart for chart in charts if chart]


def signal_charts(trace: Trace) -> list[str]:
    """Update-to-weight ratio and gradient norm of the blocks, on a logarithmic axis; none where not recorded."""
    charts = []
    for name, title in (("update_ratio", "Update ratio by depth"), ("grad_norm", "Gradient norm by depth")):
        steps, blocks = trace.block_signal(name)
        chosen = _spread(list(blocks), MOST_LINES)
        told = title if len(chosen) == len(blocks) else f"{title} ({len(chosen)} of {len(blocks)} blocks)"
        series = [_series(block, steps, blocks[block], index) for index, block in enumerate(chosen)]
        charts.append(line_chart(told, series, log=True))
    return [chart for chart in charts if chart]


def _metrics(trace: Trace) -> list[str]:
    """The metric that chooses the weights; of a record that names none, the first few there are."""
    found = dict.fromkeys(name for evaluation in trace.evaluations for name in evaluation.values if name != "loss")
    return [trace.facts.metric] if trace.facts.metric in found else list(found)[:2]


def _metric_chart(trace: Trace, name: str) -> str:
    at, validation = trace.evaluated(name)
    _, sample = trace.evaluated(name, held_in=True)
    series = [_series("training sample", at, sample, SAMPLE), _series("validation", at, validation, VALIDATION)]
    return _chart(name, _with_values(series))


def _chart(title: str, series: Sequence[Series], *, x_label: str = "step", mark: float | None = None) -> str:
    values = [y for one in series for _, y in one.points if y is not None and math.isfinite(y)]
    log = bool(values) and min(values) > 0 and max(values) / min(values) > LOGARITHMIC
    return line_chart(title, series, x_label=x_label, mark=mark, log=log)


def _series(name: str, steps: Sequence[float] | Floats, values: Sequence[float] | Floats, colour: int) -> Series:
    # Not strict: a record may break off between the two.
    points = [(float(x), float(y)) for x, y in zip(steps, values, strict=False) if math.isfinite(x)]
    return Series(name, sorted(points, key=lambda point: point[0]), colour)


def _with_values(series: Sequence[Series]) -> list[Series]:
    return [one for one in series if any(y is not None and math.isfinite(y) for _, y in one.points)]


def _like_scales(curves: Sequence[Curve]) -> Iterator[list[Curve]]:
    """Curves that one plot can show: like magnitudes, at most `MOST_LINES`; in the order of their first one."""
    left = {index: size for index, curve in enumerate(curves) if (size := _magnitude(curve)) is not None}
    while left:
        size = next(iter(left.values()))
        together = [index for index, other in left.items() if _is_like(size, other)][:MOST_LINES]
        yield [curves[index] for index in together]
        for index in together:
            del left[index]


def _magnitude(curve: Curve) -> float | None:
    """The largest absolute value; None without any."""
    finite = [abs(value) for value in curve.values if value is not None and math.isfinite(value)]
    return max(finite, default=None)


def _is_like(size: float, other: float) -> bool:
    return size == other or (min(size, other) > 0 and max(size, other) / min(size, other) <= OTHER_SCALE)


def _spread(names: list[str], most: int) -> list[str]:
    """At most `most` names: the first, the last and evenly some between, as depth runs from first to last."""
    if len(names) <= most:
        return names
    return [names[round(index * (len(names) - 1) / (most - 1))] for index in range(most)]
