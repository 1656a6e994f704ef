from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ckdmed.metrics import bootstrap_interval, paired_difference, t_interval

# the processor may have been told to flush subnormal numbers, which hypothesis refuses to draw then
VALUES = st.floats(-1e3, 1e3, allow_subnormal=False)

GROUPS = {"a": [1.0, 3.0], "b": [5.0], "c": [2.0, 2.0, 8.0]}


def slow_draws(groups, statistic, n, seed):
    """One resample at a time, from the same indices."""
    keys = sorted(groups)
    rng = np.random.default_rng(seed)
    draws = []
    for row in rng.integers(0, len(keys), size=(n, len(keys))):
        chosen = [groups[keys[i]] for i in row]
        if statistic == "pooled":
            draws.append(np.mean([v for values in chosen for v in values]))
        else:
            draws.append(np.mean([np.mean(values) for values in chosen]))
    return draws


@pytest.mark.parametrize(("statistic", "estimate"), [("mean", (2 + 5 + 4) / 3), ("pooled", 21 / 6), ("median", 4.0)])
def test_estimates_by_hand(statistic, estimate):
    assert bootstrap_interval(GROUPS, statistic).estimate == pytest.approx(estimate)


@pytest.mark.parametrize("statistic", ["mean", "pooled"])
def test_equals_a_loop_over_resamples(statistic):
    got = bootstrap_interval(GROUPS, statistic, n=300, level=0.9, seed=3)
    low, high = np.quantile(slow_draws(GROUPS, statistic, 300, 3), [0.05, 0.95])
    assert (got.low, got.high) == (pytest.approx(low), pytest.approx(high))
    assert (got.n_groups, got.n_values, got.n_undefined) == (3, 6, 0)


def test_agrees_with_scipy_within_monte_carlo_error():
    data = np.random.default_rng(0).normal(size=40)
    got = bootstrap_interval(dict(enumerate(data)), n=4000)
    other = stats.bootstrap((data,), np.mean, n_resamples=4000, method="percentile").confidence_interval
    assert (got.low, got.high) == (pytest.approx(other.low, abs=0.03), pytest.approx(other.high, abs=0.03))


def test_blocks_do_not_change_the_draw(monkeypatch):
    whole = bootstrap_interval(GROUPS, n=100, seed=1)
    import ckdmed.metrics.bootstrap as bootstrap

    monkeypatch.setattr(bootstrap, "_BLOCK", 7)
    assert bootstrap_interval(GROUPS, n=100, seed=1) == whole


def test_seed_and_order():
    reordered = dict(reversed(GROUPS.items()))
    assert bootstrap_interval(GROUPS, seed=5) == bootstrap_interval(reordered, seed=5)
    spread = {i: float(v) for i, v in enumerate(np.random.default_rng(1).normal(size=20))}
    assert bootstrap_interval(spread, seed=5) != bootstrap_interval(spread, seed=6)


def test_undefined_values_are_counted_not_averaged():
    got = bootstrap_interval({"a": [1.0, math.nan], "b": [3.0], "c": [math.nan]})
    assert (got.estimate, got.n_groups, got.n_values, got.n_undefined) == (2.0, 2, 2, 2)


def test_one_group_has_no_interval_and_equal_groups_one_of_no_width():
    alone = bootstrap_interval({"a": [1.0, 2.0]})
    assert alone.estimate == 1.5 and math.isnan(alone.low) and math.isnan(alone.high)
    equal = bootstrap_interval({"a": [0.7], "b": [0.7]})
    assert (equal.low, equal.high) == (pytest.approx(0.7), pytest.approx(0.7))


def test_slices_of_a_patient_do_not_count_as_independent():
    rng = np.random.default_rng(0)
    groups = {p: (m + 0.01 * rng.normal(size=10)).tolist() for p, m in enumerate(rng.normal(size=20))}
    clustered = bootstrap_interval(groups, "pooled")
    flat = bootstrap_interval(dict(enumerate(v for values in groups.values() for v in values)))
    assert clustered.high - clustered.low > 2 * (flat.high - flat.low)


def test_coverage():
    """About 95 % of intervals hold the true mean: 400 experiments with 40 patients of 1 to 6 slices."""
    rng = np.random.default_rng(7)
    hits = 0
    for seed in range(400):
        means = rng.normal(0.8, 0.1, size=40)
        groups = {i: m + rng.normal(0, 0.05, size=rng.integers(1, 7)) for i, m in enumerate(means)}
        interval = bootstrap_interval(groups, n=400, seed=seed)
        hits += interval.low <= 0.8 <= interval.high
    assert 0.90 <= hits / 400 <= 0.98


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(VALUES, min_size=1, max_size=4), min_size=2, max_size=6), VALUES)
def test_shift_moves_the_interval_and_it_stays_within_the_data(values, shift):
    groups = dict(enumerate(values))
    moved = {k: [v + shift for v in g] for k, g in groups.items()}
    a, b = bootstrap_interval(groups, n=50), bootstrap_interval(moved, n=50)
    assert b.low == pytest.approx(a.low + shift, abs=1e-6) and b.high == pytest.approx(a.high + shift, abs=1e-6)
    means = [np.mean(g) for g in values]
    assert min(means) - 1e-9 <= a.low <= a.high <= max(means) + 1e-9


def test_own_statistic():
    assert bootstrap_interval(GROUPS, lambda means, axis: means.max(axis=axis)).estimate == 5.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval({}), "no defined value"),
        (lambda: bootstrap_interval({"a": [math.nan]}), "no defined value"),
        (lambda: bootstrap_interval(GROUPS, n=0), "at least 1"),
        (lambda: bootstrap_interval(GROUPS, level=1.0), "between 0 and 1"),
        (lambda: bootstrap_interval(GROUPS, "mode"), "statistic must be"),
        (lambda: paired_difference({"a": 1.0}, {"b": 1.0}), "not paired: 2 keys"),
        (lambda: paired_difference({}, {}), "no pairs"),
        (lambda: paired_difference({"a": math.nan}, {"a": 1.0}), "pair 'a' has no defined value"),
        (lambda: paired_difference({"a": 1.0}, {"a": 1.0}, method="z"), "'bootstrap' or 't'"),
        (lambda: t_interval([1.0, 2.0], level=0), "between 0 and 1"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_paired_difference_by_hand():
    a, b = {1: [0.9, 0.7], 2: 0.6, 3: 0.5, 4: 0.4}, {1: 0.7, 2: 0.6, 3: [0.3, 0.5], 4: 0.5}
    got = paired_difference(a, b)
    assert got.estimate == pytest.approx((0.1 + 0 + 0.1 - 0.1) / 4)
    assert (got.wins, got.ties, got.losses, got.n) == (2, 1, 1, 4)
    assert got.low < got.estimate < got.high
    opposite = paired_difference(b, a, method="t")
    same = paired_difference(a, b, method="t")
    assert opposite.estimate == pytest.approx(-same.estimate)
    assert (opposite.low, opposite.high) == (pytest.approx(-same.high), pytest.approx(-same.low))


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(0)
    base = rng.normal(size=30)
    a, b = dict(enumerate(base + 0.1 + 0.01 * rng.normal(size=30))), dict(enumerate(base))
    paired = paired_difference(a, b)
    assert paired.low > 0 and paired.high - paired.low < 0.02


def test_t_interval_by_scipy():
    data = [0.71, 0.74, 0.69]
    expected = stats.t.interval(0.95, 2, loc=np.mean(data), scale=stats.sem(data))
    assert t_interval(data) == (pytest.approx(expected[0]), pytest.approx(expected[1]))
    assert all(map(math.isnan, t_interval([1.0])))
