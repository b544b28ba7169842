"""Small line charts as inline SVG, without any library. Colours come from the page's style sheet."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 30, 40
MAX_POINTS = 400
TICKS = 5
LEGEND_ROW = 18

Point = tuple[float, float | None]


@dataclass(frozen=True)
class Series:
    """One line.

    Args:
        name: shown in the legend.
        points: (x, y), ascending in x; a y that is None or not finite leaves a gap.
        style: number of its colour in the style sheet (`s0`, `s1`, …).
    """

    name: str
    points: Sequence[Point]
    style: int = 0


def line_chart(
    title: str, series: Sequence[Series], *, x_label: str = "step", mark: float | None = None, log: bool = False
) -> str:
    """An SVG element with axes, a legend and one line a series; an empty string where no point can be drawn.

    Args:
        title: heading and accessible name.
        series: the lines. Long ones are averaged down to 400 points.
        x_label: name of the horizontal axis.
        mark: where a dashed vertical line stands, a finite x; none when None.
        log: whether the vertical axis is logarithmic; values of 0 and below then leave gaps.
    """
    drawn = [Series(one.name, _scaled(_thin(one.points), log), one.style) for one in series]
    drawn = [one for one in drawn if any(_finite(y) for _, y in one.points)]
    if not drawn:
        return ""
    xs = [x for one in drawn for x, y in one.points if _finite(y)] + ([] if mark is None else [mark])
    ys = [y for one in drawn for _, y in one.points if y is not None and _finite(y)]
    x_ticks = nice_ticks(min(xs), max(xs), whole=True)
    y_ticks = log_ticks(min(ys), max(ys)) if log else nice_ticks(min(ys), max(ys))
    x_span = (min(min(xs), x_ticks[0]), max(max(xs), x_ticks[-1]))
    y_span = (y_ticks[0], y_ticks[-1])
    labels = [f"{10**tick:g}" if log else _tick_text(tick, y_ticks) for tick in y_ticks]
    names, rows = ([], 0) if len(drawn) == 1 and drawn[0].name.lower() in title.lower() else _legend(title, drawn)
    down = LEGEND_ROW * rows
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT + down}" role="img" aria-label="{html.escape(title)}">',
        f'<text class="title" x="{LEFT}" y="16">{html.escape(title)}</text>',
        *names,
        *([f'<g transform="translate(0 {down})">'] if down else []),
        *(_x_tick(tick, x_span) for tick in x_ticks),
        *(_y_tick(tick, y_span, label) for tick, label in zip(y_ticks, labels, strict=True)),
        f'<text class="tick" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{html.escape(x_label)}</text>",
        *(_mark(mark, x_span) if mark is not None else []),
        *(element for one in drawn for element in _line(one, x_span, y_span)),
        *(["</g>"] if down else []),
        "</svg>",
    ]
    return "\n".join(parts)


def nice_ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """About five round numbers (1, 2 or 5 times a power of ten apart) whose span holds [low, high].

    Args:
        low, high: finite ends; where they are equal, a span around them is made up.
        whole: steps of at least 1, and the ticks stay inside [low, high] where two or more do.
    """
    if whole and high - low < 1:
        low, high = low - 1, high + 1
    elif high - low <= 1e-12 * max(abs(low), abs(high), 1e-100):
        pad = abs(low) * 0.5 or 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / (TICKS - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
        inside = [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
        if len(inside) > 1:
            return inside
    return [index * step for index in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Exponents of 10, ascending, whose powers are round numbers and whose span holds [low, high].

    Args:
        low, high: finite exponents. Up to two powers of ten apart, 2 and 5 times a power are ticks too.
    """
    start, end = math.floor(low + 1e-9), math.ceil(high - 1e-9)
    if high - low > 2:
        step = math.ceil((end - start) / TICKS)
        return [float(exponent) for exponent in range(start, end + step, step)]
    fine = [exponent + math.log10(factor) for exponent in range(start - 1, end + 2) for factor in (1, 2, 5)]
    below = max(tick for tick in fine if tick <= low + 1e-9)
    above = min(tick for tick in fine if tick >= high - 1e-9 and tick > below)
    return [tick for tick in fine if below <= tick <= above]


def _scaled(points: list[Point], log: bool) -> list[Point]:
    """The points as they are, or with the decimal logarithm of y; None where there is none."""
    if not log:
        return points
    return [(x, math.log10(y) if y is not None and math.isfinite(y) and y > 0 else None) for x, y in points]


def _thin(points: Sequence[Point]) -> list[Point]:
    """At most `MAX_POINTS` points: neighbours are averaged, those that are not finite left out of the mean."""
    size = math.ceil(len(points) / MAX_POINTS)
    if size <= 1:
        return list(points)
    thinned: list[Point] = []
    for start in range(0, len(points), size):
        group = points[start : start + size]
        values = [y for _, y in group if y is not None and math.isfinite(y)]
        thinned.append((sum(x for x, _ in group) / len(group), sum(values) / len(values) if values else None))
    return thinned


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _x(value: float, span: tuple[float, float]) -> float:
    return LEFT + (value - span[0]) / (span[1] - span[0]) * (WIDTH - LEFT - RIGHT)


def _y(value: float, span: tuple[float, float]) -> float:
    return HEIGHT - BOTTOM - (value - span[0]) / (span[1] - span[0]) * (HEIGHT - TOP - BOTTOM)


def _x_tick(tick: float, span: tuple[float, float]) -> str:
    x, y = _x(tick, span), HEIGHT - BOTTOM + 16
    return f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="middle">{tick:,.0f}</text>'


def _y_tick(tick: float, span: tuple[float, float], label: str) -> str:
    y = _y(tick, span)
    return (
        f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    )


def _tick_text(tick: float, ticks: list[float]) -> str:
    step = ticks[1] - ticks[0]
    largest = max(abs(ticks[0]), abs(ticks[-1]))
    step_power, power = (math.floor(math.log10(value) + 1e-9) for value in (step, largest))
    # Decimals that tell neighbours apart, unless they stand behind many zeros.
    if largest >= 1e6 or (step < 1e-3 and power < -1):
        return "0" if abs(tick) < step / 2 else f"{tick:.{max(1, power - step_power)}e}"
    return f"{tick:.{max(0, -step_power)}f}"


def _mark(at: float, span: tuple[float, float]) -> list[str]:
    x = _x(at, span)
    return [f'<line class="mark" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>']


def _legend(title: str, series: Sequence[Series]) -> tuple[list[str], int]:
    """The names behind a stroke each, beside the title where they fit, else in rows below it; and how many rows."""
    widths = [8 * len(one.name) + 26 for one in series]
    beside = WIDTH - RIGHT - sum(widths)
    row, left = (0, beside) if beside >= LEFT + 8 * len(title) + 8 else (1, LEFT)
    parts = []
    for one, width in zip(series, widths, strict=True):
        if row and left > LEFT and left + width > WIDTH - RIGHT:
            row, left = row + 1, LEFT
        y = 16 + LEGEND_ROW * row
        parts.append(
            f'<line class="line s{one.style}" x1="{left}" y1="{y - 4}" x2="{left + 14}" y2="{y - 4}"/>'
            f'<text class="tick" x="{left + 18}" y="{y}">{html.escape(one.name)}</text>'
        )
        left += width
    return parts, row


def _line(series: Series, x_span: tuple[float, float], y_span: tuple[float, float]) -> list[str]:
    """One polyline a stretch without gap; a stretch of one point is a dot."""
    stretches: list[list[tuple[float, float]]] = [[]]
    for x, y in series.points:
        if y is not None and math.isfinite(y):
            stretches[-1].append((_x(x, x_span), _y(y, y_span)))
        elif stretches[-1]:
            stretches.append([])
    elements = []
    few = len(series.points) <= 30
    for stretch in filter(None, stretches):
        if len(stretch) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in stretch)
            elements.append(f'<polyline class="line s{series.style}" points="{path}"/>')
        if few or len(stretch) == 1:
            elements += [f'<circle class="dot s{series.style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in stretch]
    return elements
