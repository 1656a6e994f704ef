from __future__ import annotations

import math

import numpy as np
import pytest

from ckdmed.metrics import relative_loss


def test_by_hand():
    # means .5 and .8
    assert relative_loss({"a": 0.4, "b": 0.6}, {"a": 0.8, "b": 0.8}).estimate == pytest.approx(0.375)
    assert relative_loss({"a": 0.9, "b": 0.9}, {"b": 0.8, "a": 0.8}).estimate == pytest.approx(-0.125)
    # b has no score in one of them
    left = relative_loss({"a": 0.4, "b": 0.6}, {"a": 0.8, "b": math.nan})
    assert left.estimate == pytest.approx(0.5) and (left.n_groups, left.n_undefined) == (1, 1)
    assert math.isnan(left.low)


def test_patients_are_drawn_in_pairs():
    clean = {number: 0.1 + 0.03 * number for number in range(30)}
    # each patient loses a fifth, so that every draw does, however different the patients are
    found = relative_loss({number: 0.8 * score for number, score in clean.items()}, clean)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.2, 0.2, 0.2))
    assert relative_loss(clean, clean).high == 0


def test_against_a_slow_reference():
    rng = np.random.default_rng(1)
    clean, worse = rng.random(12), rng.random(12)
    order = sorted(range(12), key=str)
    drawn = np.random.default_rng(3).integers(0, 12, size=(500, 12))
    losses = [1 - worse[order][index].mean() / clean[order][index].mean() for index in drawn]
    found = relative_loss(dict(enumerate(worse)), dict(enumerate(clean)), n=500, seed=3)
    assert (found.low, found.high) == pytest.approx(np.quantile(losses, [0.025, 0.975]))


def test_refusals_and_a_reference_of_zero():
    assert math.isnan(relative_loss({"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 0.0}).estimate)
    with pytest.raises(ValueError, match="not of the same patients: 2 in one only, among them"):
        relative_loss({"a": 1.0, "b": 1.0}, {"a": 1.0, "c": 1.0})
    with pytest.raises(ValueError, match="no patient has a defined score in both"):
        relative_loss({"a": math.nan}, {"a": 1.0})
