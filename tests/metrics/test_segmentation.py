from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from ckdmed.metrics import EMPTY_RULES, SEGMENTATION_SCORES, SegmentationScoresMetric, segmentation_scores


def border(mask: np.ndarray) -> list[tuple[int, ...]]:
    """Foreground pixels with a background pixel (or the outside) next to them along an axis, one by one."""
    found = []
    for point in zip(*np.nonzero(mask)):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                other = list(point)
                other[axis] += step
                outside = not 0 <= other[axis] < mask.shape[axis]
                if outside or not mask[tuple(other)]:
                    found.append(point)
    return sorted(set(found))


def reference(pred: np.ndarray, true: np.ndarray, spacing: list[float]) -> dict[str, float]:
    tp = fp = fn = tn = 0
    for p, t in zip(pred.ravel(), true.ravel()):
        tp, fp, fn, tn = tp + (p and t), fp + (p and not t), fn + (t and not p), tn + (not p and not t)
    edges = border(pred), border(true)

    def directed(a, b):
        return [min(math.dist(np.multiply(x, spacing), np.multiply(y, spacing)) for y in b) for x in a]

    there, back = directed(*edges), directed(*edges[::-1])
    return {
        "dice": 2 * tp / (2 * tp + fp + fn),
        "iou": tp / (tp + fp + fn),
        "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
        "asd": sum(there + back) / len(there + back),
        "sensitivity": tp / (tp + fn),
        "specificity": tn / (tn + fp) if tn + fp else math.nan,
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(7, 9), (5, 4, 6)]), st.floats(0.05, 0.9), st.floats(0.3, 3.0))
def test_equals_the_slow_reference(seed, shape, density, step):
    rng = np.random.default_rng(seed)
    pred, true = rng.random(shape) < density, rng.random(shape) < density
    pred.flat[0] = true.flat[-1] = True
    spacing = [step * (i + 1) for i in range(len(shape))]
    got = segmentation_scores(pred, true, spacing)
    for name, value in reference(pred, true, spacing).items():
        assert got[name] == pytest.approx(value, rel=1e-5, abs=1e-5, nan_ok=True), name
    assert got["empty"] == "none" and got["unit"] == "mm"
    assert (got["pred_size"], got["true_size"]) == (pred.sum(), true.sum())


def test_a_square_moved_by_two_rows():
    true = np.zeros((12, 12), bool)
    true[3:7, 3:7] = True
    pred = np.roll(true, 2, axis=0)
    got = segmentation_scores(pred, true, (0.5, 0.7))
    assert got["dice"] == pytest.approx(0.5)
    assert got["iou"] == pytest.approx(1 / 3)
    assert got["sensitivity"] == pytest.approx(0.5)
    assert got["specificity"] == pytest.approx(1 - 8 / 128)
    assert got["hd95"] == pytest.approx(1.0)
    # of the 12 border pixels of a square 4 lie on the border of the other, 4 one row (0.5 mm) off (the second row, and
    # the inner two of the row that lies within the other square) and 4 two rows off; the same in both directions
    assert got["asd"] == pytest.approx((4 * 0 + 4 * 0.5 + 4 * 1.0) / 12)


def test_pixels_where_spacing_is_unknown():
    true = np.zeros((12, 12), bool)
    true[3:7, 3:7] = True
    got = segmentation_scores(np.roll(true, 3, axis=1), true)
    assert got["unit"] == "px" and got["hd95"] == pytest.approx(3.0)


def test_perfect_mask():
    mask = np.zeros((6, 6, 6), np.uint8)
    mask[2:4, 2:5, 1:4] = 1
    got = segmentation_scores(mask, mask, 1.0)
    assert [got[name] for name in SEGMENTATION_SCORES] == [1, 1, 0, 0, 1, 1]


FULL, EMPTY = np.pad(np.ones((2, 2), bool), ((1, 1), (2, 0))), np.zeros((4, 4), bool)
DIAGONAL = math.sqrt((4 * 2) ** 2 + (4 * 3) ** 2)


@pytest.mark.parametrize(
    ("pred", "true", "empty", "expected"),
    [
        (FULL, EMPTY, "truth", (0, 0, DIAGONAL, DIAGONAL, math.nan, 12 / 16)),
        (EMPTY, FULL, "prediction", (0, 0, DIAGONAL, DIAGONAL, 0, 1)),
        (EMPTY, EMPTY, "both", (1, 1, 0, 0, math.nan, 1)),
    ],
)
def test_rules_for_empty_masks(pred, true, empty, expected):
    got = segmentation_scores(pred, true, (2, 3))
    assert got["empty"] == empty and empty in EMPTY_RULES
    assert [got[name] for name in SEGMENTATION_SCORES] == pytest.approx(expected, nan_ok=True)


def test_no_background_has_no_specificity():
    ones = np.ones((4, 4), bool)
    assert math.isnan(segmentation_scores(ones, ones)["specificity"])


def test_a_missed_mask_is_never_better_than_the_worst_found_one():
    true, far = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    true[0, 0] = far[8, 8] = True
    worst = segmentation_scores(far, true, 1.0)["hd95"]
    assert worst < segmentation_scores(np.zeros_like(true), true, 1.0)["hd95"]


def test_tensors_and_metatensors_give_what_arrays_give():
    rng = np.random.default_rng(0)
    pred, true = rng.random((8, 8)) < 0.5, rng.random((8, 8)) < 0.5
    expected = segmentation_scores(pred, true)
    assert segmentation_scores(torch.from_numpy(pred), torch.from_numpy(true).float()) == expected
    assert segmentation_scores(MetaTensor(pred.astype(np.float32)), MetaTensor(true.astype(np.float32))) == expected


@pytest.mark.parametrize(
    ("pred", "true", "spacing", "message"),
    [
        (np.zeros((4, 4)), np.zeros((4, 5)), None, r"same shape, got \(4, 4\) and \(4, 5\)"),
        (np.zeros(4), np.zeros(4), None, "2-D or 3-D"),
        (np.zeros((0, 4)), np.zeros((0, 4)), None, "not of size 0"),
        (np.full((4, 4), 0.3), np.zeros((4, 4)), None, "prediction must hold 0 and 1 only"),
        (np.zeros((4, 4)), np.full((4, 4), 2), None, "truth must hold 0 and 1 only"),
        (np.full((4, 4), np.nan), np.zeros((4, 4)), None, "prediction must hold 0 and 1 only"),
        (np.zeros((4, 4)), np.zeros((4, 4)), (1, 0), "spacing_mm must be one positive number or 2"),
        (np.zeros((4, 4)), np.zeros((4, 4)), (1, 1, 1), "spacing_mm must be one positive number or 2"),
    ],
)
def test_errors(pred, true, spacing, message):
    with pytest.raises(ValueError, match=message):
        segmentation_scores(pred, true, spacing)


def test_metric_gathers_batches_and_leaves_undefined_values_out_of_their_own_score():
    metric = SegmentationScoresMetric(spacing_mm=(2, 3))
    full, empty = torch.from_numpy(FULL)[None], torch.from_numpy(EMPTY)[None]
    metric(torch.stack([full, empty]), torch.stack([full, full]))
    metric([empty], [empty])
    buffer = metric.get_buffer()
    assert buffer.shape == (3, 1, len(SEGMENTATION_SCORES))
    means = metric.aggregate()
    assert means["dice"] == pytest.approx(2 / 3)
    assert means["hd95"] == pytest.approx(DIAGONAL / 3)
    assert means["sensitivity"] == pytest.approx(0.5)
    metric.reset()
    with pytest.raises(ValueError, match="nothing has been scored"):
        metric.aggregate()


def test_metric_refuses_other_shapes():
    with pytest.raises(ValueError, match="same shape"):
        SegmentationScoresMetric()(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))
