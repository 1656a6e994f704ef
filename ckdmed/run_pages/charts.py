"""Charts as the shapes of an SVG: places in px, colours by class, so that a page's light and dark have their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .blocks import Bars, Intervals, LineChart
from .chart_scale import scale_of

__all__ = ["COLOURS", "bars_shapes", "intervals_shapes", "line_shapes"]

#: classes c0, c1 ... of the style sheet
COLOURS = 8
WIDTH, HEIGHT = 360, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 36
_ROW = 26


def line_shapes(chart: LineChart) -> dict[str, Any]:
    """What the template draws of a line chart; None-free and finite throughout."""
    lines = [line for line in chart.lines if line.points]
    points = [point for line in lines for point in line.points]
    if not points:
        raise ValueError(f"the chart {chart.title!r} has no points.")
    if any(not math.isfinite(value) for point in points for value in point):
        raise ValueError(f"the chart {chart.title!r} has a point that is not finite.")
    whole = all(float(x).is_integer() for x, _ in points)
    across = (0.0, 1.0) if chart.diagonal else None
    x = scale_of([p[0] for p in points], _LEFT, WIDTH - _RIGHT, whole=whole and not chart.diagonal, limits=across)
    y = scale_of(
        [p[1] for p in points],
        HEIGHT - _BOTTOM,
        _TOP,
        may_be_logarithmic=chart.y_range is None,
        limits=chart.y_range,
    )
    drawn = []
    for number, line in enumerate(lines):
        places = [(x(a), y(b)) for a, b in line.points]
        drawn.append(
            {
                "name": line.name,
                "colour": number % COLOURS,
                "dashed": line.dashed,
                "path": "" if line.dots else "M" + "L".join(f"{a} {b}" for a, b in places),
                # a long line is no better for a dot at each of its points
                "dots": (
                    [
                        (a, b, f"{line.name}: {_short(value)} at {_short(at)}")
                        for (a, b), (at, value) in zip(places, line.points, strict=True)
                    ]
                    if line.dots or len(places) <= 30
                    else []
                ),
            }
        )
    mark = None if chart.mark is None else (x(chart.mark[0]), y(chart.mark[1]), chart.mark[2])
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": _LEFT,
        "right": WIDTH - _RIGHT,
        "top": _TOP,
        "bottom": HEIGHT - _BOTTOM,
        "x_marks": x.marks(),
        "y_marks": y.marks(),
        "lines": drawn,
        "mark": mark,
        "diagonal": [(x(0), y(0)), (x(1), y(1))] if chart.diagonal else None,
        "logarithmic": y.logarithmic,
    }


def intervals_shapes(chart: Intervals) -> dict[str, Any]:
    """What the template draws of estimates with intervals: a name above each, so that long ones have room."""
    inner = [value for _, estimate, own, _ in chart.rows for value in (estimate, *(own or ()))]
    values = _finite(inner) + ([0.0] if chart.zero else [])
    bottom = _TOP + 2 * _ROW * len(chart.rows)
    x = scale_of(values, 14, WIDTH - 14)
    rows = []
    for number, (name, estimate, own, outer) in enumerate(chart.rows):
        at = _TOP + 2 * _ROW * number
        known = [ends for ends in (own, outer) if ends is not None]
        above, below = all(low > 0 for low, _ in known), all(high < 0 for _, high in known)
        rows.append(
            {
                "name": name,
                "y": at + 38,
                "text_y": at + 20,
                "value": _signed(estimate) if chart.zero else _short(estimate),
                "x": x(estimate),
                "inner": None if own is None else (x(own[0]), x(own[1])),
                "outer": None if outer is None else (x(outer[0]), x(outer[1])),
                # an interval over few seeds can be far wider than all others: it ends at the border in an arrow
                "beyond": [] if outer is None else _beyond(x.low, x.high, outer),
                "sign": "undecided" if not (chart.zero and known) or above == below else "gain" if above else "loss",
            }
        )
    return {
        "width": WIDTH,
        "height": bottom + 40,
        "bottom": bottom + 4,
        "top": _TOP,
        "x_marks": x.marks(),
        "zero": x(0.0) if chart.zero else None,
        "rows": rows,
    }


def bars_shapes(chart: Bars) -> dict[str, Any]:
    """What the template draws of bars: a name and the value above each."""
    longest = max([value for _, value, _ in chart.rows] or [0.0]) or 1.0
    rows = [
        {
            "name": name,
            "words": words,
            "text_y": 2 * _ROW * number + 18,
            "y": 2 * _ROW * number + 25,
            "width": round(max(value / longest, 0.0) * (WIDTH - 28), 1),
            "colour": number % COLOURS,
        }
        for number, (name, value, words) in enumerate(chart.rows)
    ]
    return {"width": WIDTH, "height": 2 * _ROW * len(rows) + 8, "rows": rows}


def _beyond(low: float, high: float, ends: tuple[float, float]) -> list[str]:
    return [side for side, out in (("left", ends[0] < low), ("right", ends[1] > high)) if out]


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _short(value: float) -> str:
    return f"{value:.4g}"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")
