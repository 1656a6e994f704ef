from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckdmed.metrics import holm_levels, holm_p_values, paired_difference, paired_p_value


def test_adjusted_values_by_hand():
    # sorted: .01 * 4, .02 * 3, .03 * 2 (= .06, no less than the one before), .5 * 1
    adjusted = holm_p_values({"c": 0.03, "a": 0.01, "d": 0.5, "b": 0.02})
    assert list(adjusted) == ["c", "a", "d", "b"]
    assert adjusted == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.5})
    # those of R's p.adjust(c(0.01, 0.02, 0.022, 0.09, 0.7), "holm"); 0.022 * 3 is less than 0.02 * 4
    assert list(holm_p_values(dict(enumerate([0.01, 0.02, 0.022, 0.09, 0.7]))).values()) == pytest.approx(
        [0.05, 0.08, 0.08, 0.18, 0.7]
    )
    assert holm_p_values({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm_p_values({"only": 0.04}) == {"only": 0.04}


def test_levels_by_hand():
    # .001 <= .05 / 4, .01 <= .05 / 3, .04 > .05 / 2: the third and all behind it are looked at with .05 / 2
    levels = holm_levels({"d": 0.9, "a": 0.001, "c": 0.04, "b": 0.01})
    assert levels == pytest.approx({"a": 1 - 0.05 / 4, "b": 1 - 0.05 / 3, "c": 1 - 0.05 / 2, "d": 1 - 0.05 / 2})
    # .04 would pass alone, but the one before it has failed
    assert holm_levels({"a": 0.03, "b": 0.04}) == pytest.approx({"a": 0.975, "b": 0.975})
    assert holm_levels({"a": 0.0, "b": 0.0}, 0.9) == pytest.approx({"a": 0.95, "b": 0.9})


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12))
def test_decisions_are_those_of_the_steps(values: list[int]):
    p_values = {name: value / 1000 for name, value in enumerate(values)}
    passed = set()
    # step by step, until one fails
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if (len(p_values) - rank) * p_values[name] > 0.05:
            break
        passed.add(name)
    adjusted, levels = holm_p_values(p_values), holm_levels(p_values)
    assert {name for name, value in adjusted.items() if value <= 0.05} == passed
    # but for the last bits of a quotient
    assert {name for name in p_values if p_values[name] <= (1 - levels[name]) * (1 + 1e-9)} >= passed
    assert all(p_values[name] > 1 - levels[name] for name in set(p_values) - passed if p_values[name] > 0.05)


@pytest.mark.parametrize("wrong", [{}, {"a": 1.5}, {"a": float("nan")}])
def test_what_is_no_p_value(wrong):
    with pytest.raises(ValueError, match="at least one p-value, all in .0, 1.; got"):
        holm_p_values(wrong)
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 1"):
        holm_levels({"a": 0.5}, 1)


def test_p_value_of_the_bootstrap_by_hand():
    # of two pairs with the differences -1 and 3, a resample has the means -1, 1, 1, 3, each a quarter of the time
    a, b = {1: 0.0, 2: 3.0}, {1: 1.0, 2: 0.0}
    assert paired_p_value(a, b, n=40_000) == pytest.approx(0.5, abs=0.02)
    # on one side in every resample: the smallest value that n resamples can show
    assert paired_p_value({1: 1.0, 2: 2.0}, {1: 0.0, 2: 0.0}, n=999) == 2 / 1000
    assert paired_p_value({1: 1.0, 2: 2.0}, {1: 1.0, 2: 2.0}) == 1.0
    assert paired_p_value({1: 1.0}, {1: 0.0}) == 1.0
    with pytest.raises(ValueError, match="not paired: 1 keys"):
        paired_p_value({1: 1.0, 2: 1.0}, {1: 1.0})


def test_p_value_and_interval_agree():
    a = {number: value for number, value in enumerate([0.3, 0.1, -0.1, 0.2, 0.0, 0.15, 0.05, -0.02])}
    b = dict.fromkeys(a, 0.0)
    p = paired_p_value(a, b, n=9999)
    for level in (0.9, 0.95, 0.98, 0.99, 0.999):
        found = paired_difference(a, b, n=9999, level=level)
        assert (found.low > 0) == (p < 1 - level)
