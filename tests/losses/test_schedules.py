"""Weights over the course of training."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckdmed.losses import Constant, CosineRamp, DelayedRamp, LinearRamp, RampAndOff, SigmoidRamp, StepAfter

ALL = [
    Constant(0.3),
    LinearRamp(),
    CosineRamp(0.2, 0.7),
    SigmoidRamp(0, 1),
    StepAfter(0.5),
    RampAndOff(),
    DelayedRamp(),
]


def test_values_by_hand() -> None:
    assert [LinearRamp(0.2, 0.6)(x) for x in (0, 0.2, 0.3, 0.6, 1)] == pytest.approx([0, 0, 0.25, 1, 1])
    assert [LinearRamp(0, 20)(epoch) for epoch in (0, 5, 20, 240)] == [0, 0.25, 1, 1]
    assert [CosineRamp(0, 1)(x) for x in (0, 1 / 3, 0.5, 1)] == pytest.approx([0, 0.25, 0.5, 1])
    sigmoid = [0.006738, 0.060055, 0.286505, 0.731616, 1]
    assert [SigmoidRamp(0, 1)(x) for x in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx(sigmoid, abs=5e-7)
    assert [StepAfter(3)(x) for x in (0, 2.99, 3, 9)] == [0, 0, 1, 1]
    assert [DelayedRamp()(epoch) for epoch in (0, 25, 26, 30, 35, 90)] == pytest.approx([0, 0, 0.02, 0.1, 0.2, 0.2])
    assert [RampAndOff()(x) for x in (0, 0.05, 0.1, 0.5, 0.899, 0.9, 1)] == pytest.approx([0, 0.5, 1, 1, 1, 0, 0])
    assert [RampAndOff(100, 900)(step) for step in (0, 25, 100, 899, 900)] == pytest.approx([0, 0.25, 1, 1, 0])
    assert Constant(0.3)(0.7) == 0.3
    assert LinearRamp(0, 0)(0) == 1


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: type(s).__name__)
def test_the_same_after_pickling_and_in_any_order(schedule: Constant) -> None:
    positions = [i / 20 for i in range(21)]
    forwards = [schedule(x) for x in positions]
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule
    assert [again(x) for x in reversed(positions)] == forwards[::-1]


@settings(max_examples=50, deadline=None)
@given(a=st.floats(0, 1, allow_subnormal=False), b=st.floats(0, 1, allow_subnormal=False))
def test_ramps_never_fall_and_stay_in_range(a: float, b: float) -> None:
    low, high = sorted((a, b))
    for ramp in (
        LinearRamp(0.1, 0.8),
        CosineRamp(0.1, 0.8),
        SigmoidRamp(0.1, 0.8),
        StepAfter(0.4),
        DelayedRamp(0.1, 1),
    ):
        assert 0 <= ramp(low) <= ramp(high) <= 1
        assert math.isfinite(ramp(high))


def test_refused() -> None:
    with pytest.raises(ValueError, match="a ramp from 0.5 to 0.2"):
        LinearRamp(0.5, 0.2)
    with pytest.raises(ValueError, match="ramp_end 0.5 and off_start 0.2"):
        RampAndOff(0.5, 0.2)
    with pytest.raises(ValueError, match="length is 0"):
        DelayedRamp(length=0)
    for schedule in ALL:
        with pytest.raises(ValueError, match="position is -1"):
            schedule(-1)
        with pytest.raises(ValueError, match="position is nan"):
            schedule(float("nan"))
