"""From values to places in a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

__all__ = ["Scale", "scale_of"]

# of positive values with a larger ratio the small ones would lie on the axis
_LOGARITHMIC = 30.0


@dataclass(frozen=True)
class Scale:
    """Where the values of an axis lie.

    Attributes:
        low, high: ends of the axis.
        start, end: their places, px.
        ticks: values that are named.
        logarithmic: whether equal distances are equal ratios.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value, px, to a tenth; values beyond an end lie on it."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, at = math.log10(low), math.log10(high), math.log10(at)
        return round(self.start + (at - low) / (high - low) * (self.end - self.start), 1)

    def marks(self) -> list[tuple[float, str]]:
        """Place and words of each tick."""
        digits = 0
        while digits < 8 and any(
            abs(round(tick, digits) - tick) > 1e-9 * abs(self.high - self.low) for tick in self.ticks
        ):
            digits += 1
        texts = [f"{tick:g}" if self.logarithmic else f"{tick:.{digits}f}" for tick in self.ticks]
        return [(self(tick), text.replace("-", "−")) for tick, text in zip(self.ticks, texts, strict=True)]


def scale_of(
    values: Sequence[float],
    start: float,
    end: float,
    most: int = 5,
    whole: bool = False,
    may_be_logarithmic: bool = False,
    limits: tuple[float, float] | None = None,
) -> Scale:
    """An axis that holds all values.

    Args:
        values: finite, at least one where there are no ``limits``.
        start, end: places of its ends, px.
        most: intervals between ticks.
        whole: ticks at whole numbers only, and no margin.
        may_be_logarithmic: whether it becomes so where the values span more than a factor of 30.
        limits: the ends instead.
    """
    low, high = limits or (min(values), max(values))
    if may_be_logarithmic and low > 0 and high / low > _LOGARITHMIC:
        ticks = LogLocator(numticks=most).tick_values(low, high)
        inside = tuple(float(tick) for tick in ticks if low <= tick <= high)
        return Scale(low, high, start, end, inside or (low, high), True)
    if low == high:
        half = 0.5 if whole else abs(low) * 0.1 or 0.5
        low, high = low - half, high + half
    ticks = MaxNLocator(most, integer=whole).tick_values(low, high)
    if limits is None and not whole:
        # the axis ends at its outermost ticks
        low, high = min(low, float(ticks[0])), max(high, float(ticks[-1]))
    margin = 1e-9 * (high - low)
    inside = tuple(float(tick) for tick in np.asarray(ticks) if low - margin <= tick <= high + margin)
    return Scale(low, high, start, end, inside)
