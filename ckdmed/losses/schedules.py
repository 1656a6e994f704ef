"""Weights of loss terms over the course of training.

Each schedule is a small frozen dataclass, called with a position and returning a factor. The position may be the
progress in [0, 1], a step or an epoch: `start`, `end` and the like are in the same unit. None of them keeps state, so a
resumed run continues where it was; all can be pickled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Constant", "CosineRamp", "DelayedRamp", "LinearRamp", "RampAndOff", "SigmoidRamp", "StepAfter"]


@dataclass(frozen=True)
class Constant:
    """Always `value`."""

    value: float = 1.0

    def __call__(self, position: float) -> float:
        _check(position)
        return self.value


@dataclass(frozen=True)
class _Ramp:
    """0 up to `start`, rising to 1 at `end` and staying there."""

    start: float = 0.0
    end: float = 0.1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end) and 0 <= self.start <= self.end):
            raise ValueError(f"a ramp from {self.start} to {self.end}: 0 <= start <= end is needed.")

    def _fraction(self, position: float) -> float:
        _check(position)
        if position >= self.end:
            return 1.0
        return max(position - self.start, 0.0) / (self.end - self.start)


@dataclass(frozen=True)
class LinearRamp(_Ramp):
    """Linear from 0 at `start` to 1 at `end`."""

    def __call__(self, position: float) -> float:
        return self._fraction(position)


@dataclass(frozen=True)
class CosineRamp(_Ramp):
    """(1 - cos(pi k)) / 2 with k from 0 at `start` to 1 at `end`: flat at both ends."""

    def __call__(self, position: float) -> float:
        return 0.5 * (1.0 - math.cos(math.pi * self._fraction(position)))


@dataclass(frozen=True)
class SigmoidRamp(_Ramp):
    """exp(-5 (1 - k)^2) with k from 0 at `start` to 1 at `end`; it begins at 0.0067, not at 0.

    Source: Laine and Aila 2017, temporal ensembling (arXiv 1610.02242).
    """

    def __call__(self, position: float) -> float:
        return math.exp(-5.0 * (1.0 - self._fraction(position)) ** 2)


@dataclass(frozen=True)
class StepAfter:
    """0 before `after`, 1 from there on."""

    after: float

    def __call__(self, position: float) -> float:
        _check(position)
        return 1.0 if position >= self.after else 0.0


@dataclass(frozen=True)
class RampAndOff:
    """Linear from 0 to 1 at `ramp_end`, then 1, and 0 from `off_start` on.

    The default ramps over the first tenth of the progress and leaves the last tenth to the other terms.
    """

    ramp_end: float = 0.1
    off_start: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.ramp_end <= self.off_start:
            raise ValueError(
                f"ramp_end {self.ramp_end} and off_start {self.off_start}: 0 <= ramp_end <= off_start is needed."
            )

    def __call__(self, position: float) -> float:
        _check(position)
        if position >= self.off_start:
            return 0.0
        return 1.0 if position >= self.ramp_end else position / self.ramp_end


@dataclass(frozen=True)
class DelayedRamp:
    """min(max(position - delay, 0) / length, ceiling); the defaults count epochs.

    Source: Liu et al. 2022 (arXiv 2207.05273), the schedule of the cross-architecture terms.
    """

    delay: float = 25.0
    length: float = 50.0
    ceiling: float = 0.2

    def __post_init__(self) -> None:
        if self.length <= 0:
            raise ValueError(f"length is {self.length}; it must be above 0.")

    def __call__(self, position: float) -> float:
        _check(position)
        return min(max(position - self.delay, 0.0) / self.length, self.ceiling)


def _check(position: float) -> None:
    if not position >= 0:
        raise ValueError(f"position is {position}; it must be 0 or more.")
