"""Reliability of a mask's probabilities, by numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ckdmed.metrics import RELIABILITY_BINS, mask_calibration, reliability_counts


def row(*values: float) -> np.ndarray:
    return np.array([values])


def counts_of(probability: np.ndarray, truth: np.ndarray, **settings) -> np.ndarray:
    return reliability_counts(probability, probability > 0.5, truth > 0, **settings)


def test_pixels_near_the_tumour_or_what_was_marked_are_counted():
    probability, truth = np.zeros((1, 40)), np.zeros((1, 40), bool)
    truth[0, 5] = True
    probability[0, 30] = 0.9
    # 3 pixels to each side of both
    counts = counts_of(probability, truth, near=3.0)
    assert counts[:, 0].sum() == 14 and counts[:, 2].sum() == 1
    assert counts[0].tolist() == [13, 0, 1] and counts[13].tolist() == [1, 0.9, 0]
    # 2 mm a pixel: 1 pixel to each side
    assert counts_of(probability, truth, near=3.0, spacing_mm=[1.0, 2.0])[:, 0].sum() == 6
    assert not counts_of(np.zeros((4, 4)), np.zeros((4, 4))).any()


def test_the_box_that_is_looked_at_leaves_nothing_out():
    rng = np.random.default_rng(0)
    truth = np.zeros((30, 31, 32), bool)
    truth[20:24, 3:5, 8:12] = True
    probability = rng.random(truth.shape) * 0.4
    spacing, near = (0.7, 1.3, 2.9), 4.1
    places = np.argwhere(truth) * spacing
    grid = np.indices(truth.shape).reshape(3, -1).T * spacing
    inside = (np.linalg.norm(grid[:, None] - places[None], axis=-1).min(axis=1) <= near).reshape(truth.shape)
    counts = counts_of(probability, truth, spacing_mm=spacing, near=near)
    assert counts[:, 0].sum() == inside.sum() and counts[:, 2].sum() == truth.sum()
    assert counts[:, 1].sum() == pytest.approx(probability[inside].sum())


def test_the_error_is_the_mean_gap_between_probability_and_share():
    # ten pixels of .95, of which eight are tumour, and ten of .05, of which none is
    probability = row(*[0.95] * 10, *[0.05] * 10)
    truth = row(*[1] * 8, *[0] * 12)
    result = mask_calibration([counts_of(probability, truth, near=100.0)], ["p"])
    assert result["ece"] == pytest.approx((10 * 0.15 + 10 * 0.05) / 20)
    assert result["pixels"] == 20 and result["interval"] is None
    assert [(part["pixels"], part["tumour"]) for part in result["bins"]] == [(10, 0.0), (10, 0.8)]
    perfect = mask_calibration([counts_of(row(1, 1, 0, 0), row(1, 1, 0, 0))], ["p"])
    assert perfect["ece"] == 0


def test_patients_are_drawn_whole():
    good, bad = (counts_of(row(1, 1, 0), truth, near=100.0) for truth in (row(1, 1, 0), row(0, 0, 1)))
    equal = mask_calibration([good] * 3, "abc")
    assert equal["interval"] == [0, 0]
    mixed = mask_calibration([good, bad, good], "abc", n_bootstrap=200)
    assert mixed["ece"] == pytest.approx(1 / 3) and mixed["interval"] == [0.0, 1.0]
    assert mixed == mask_calibration([good, good, bad], "acb", n_bootstrap=200)
    # two slices of one patient are no two patients
    assert mask_calibration([good, bad], "aa")["interval"] is None


def test_nothing_to_count_and_wrong_inputs():
    empty = mask_calibration([np.zeros((RELIABILITY_BINS, 3))] * 2, "ab")
    assert empty["ece"] is None and empty["interval"] is None and empty["bins"] == []
    with pytest.raises(ValueError, match="one shape, got"):
        reliability_counts(np.zeros((2, 2)), np.zeros((2, 2), bool), np.zeros((2, 3), bool))
    with pytest.raises(ValueError, match="not finite"):
        counts_of(row(np.nan, 0.9), row(1, 1))
