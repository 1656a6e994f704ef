"""Whether the probabilities of a mask are true: of the pixels that get .8, 80 % should be tumour."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from .bootstrap import percentile_limits, resample_groups

__all__ = ["NEAR", "RELIABILITY_BINS", "mask_calibration", "reliability_counts"]

RELIABILITY_BINS = 15
#: Pixels this far from tumour, or from what was marked as such, are counted; in mm where the spacing is known.
NEAR = 10.0


def reliability_counts(
    probability: np.ndarray,
    predicted: np.ndarray,
    truth: np.ndarray,
    spacing_mm: Sequence[float] | None = None,
    near: float = NEAR,
) -> np.ndarray:
    """What a reliability diagram needs of one slice or volume, near its tumour.

    An image is mostly background that no network takes for tumour, which would make any calibration look perfect. So
    only pixels are counted that are at most ``near`` from the tumour or from what was marked as tumour.

    Args:
        probability: of tumour, 0 to 1.
        predicted, truth: boolean masks of the same shape.
        spacing_mm: of each axis; None where it is not known and ``near`` is in pixels.
        near: not negative.

    Returns:
        (15, 3): in each bin of the probability, of equal width and closed above, how many pixels, the sum of their
        probabilities, and how many of them are tumour. All zero where there is no tumour and none was marked.

    Raises:
        ValueError: the shapes differ, or a probability is not finite.
    """
    if not probability.shape == predicted.shape == truth.shape:
        raise ValueError(
            f"probability, prediction and truth must have one shape, got {probability.shape}, {predicted.shape} and "
            f"{truth.shape}."
        )
    counts = np.zeros((RELIABILITY_BINS, 3))
    marked = predicted | truth
    if not marked.any():
        return counts
    steps = np.ones(marked.ndim) if spacing_mm is None else np.asarray(spacing_mm, dtype=float)
    box = tuple(
        slice(max(int(places.min() - near // step) - 1, 0), int(places.max() + near // step) + 2)
        for places, step in zip(np.nonzero(marked), steps, strict=True)
    )
    inside = distance_transform_edt(~marked[box], sampling=steps) <= near
    values = probability[box][inside].astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a probability near the tumour is not finite.")
    # closed above and with inner edges only, as those of `expected_calibration_error`
    place = np.digitize(values, np.linspace(0, 1, RELIABILITY_BINS + 1)[1:-1], right=True)
    for column, weights in enumerate((None, values, truth[box][inside])):
        counts[:, column] = np.bincount(place, weights, minlength=RELIABILITY_BINS)
    return counts


def mask_calibration(
    counts: Sequence[np.ndarray],
    patients: Sequence[Hashable],
    n_bootstrap: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Calibration error and reliability diagram of many slices or volumes; all counted pixels weigh the same.

    ece = sum over bins of (pixels of the bin / pixels) |share of tumour in the bin - mean probability of the bin|

    Args:
        counts: (15, 3) each, see `reliability_counts`.
        patients: of each.
        n_bootstrap, level, seed: of the interval, for which whole patients are drawn.

    Returns:
        ``ece`` and its ``interval`` (None for fewer than two patients), ``pixels``, and ``bins``: of each that holds
        any, its ``pixels``, mean ``probability`` and share of ``tumour``. ``ece`` is None where nothing was counted.

    Source: Guo et al., On calibration of modern neural networks, ICML 2017, equation 5, with the probability of tumour
        in place of the confidence in a class; Mehrtash et al., Confidence calibration and predictive uncertainty
        estimation for deep medical image segmentation, IEEE TMI 2020, for counting near the tumour alone.
    """
    by_patient: dict[str, np.ndarray] = {}
    for own, patient in zip(counts, patients, strict=True):
        by_patient[str(patient)] = by_patient.get(str(patient), 0) + np.asarray(own)
    sums = np.stack([by_patient[name] for name in sorted(by_patient)])
    total = sums.sum(axis=0)
    interval = None
    if len(sums) > 1 and total.any():
        drawn = resample_groups(len(sums), n_bootstrap, seed, width=sums.size)
        limits = percentile_limits(np.concatenate([_ece(sums[index].sum(axis=1)) for index in drawn]), level)
        interval = list(limits)
    return {
        "ece": float(_ece(total)) if total.any() else None,
        "interval": interval,
        "pixels": int(total[:, 0].sum()),
        "bins": [
            {"pixels": int(number), "probability": float(probability / number), "tumour": float(tumour / number)}
            for number, probability, tumour in total
            if number
        ],
    }


def _ece(counts: np.ndarray) -> np.ndarray:
    """Of (..., bins, 3); NaN where nothing was counted."""
    with np.errstate(invalid="ignore"):
        return np.abs(counts[..., 1] - counts[..., 2]).sum(axis=-1) / counts[..., 0].sum(axis=-1)
