from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np

from .bootstrap import Interval, percentile_limits, resample_groups

__all__ = ["relative_loss"]

Key = TypeVar("Key", bound=Hashable)


def relative_loss(
    values: Mapping[Key, float], reference: Mapping[Key, float], n: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """The part of a mean score that is lost, ``1 - mean(values) / mean(reference)``; 0 where nothing is.

    Both means are over the same patients, and the percentile bootstrap draws these, so that a patient who is hard in
    both weighs on neither side. A patient without a defined score in one of the two is left out of both.

    Args:
        values, reference: one score for each patient, of which the larger is better; NaN where it is undefined.
        n, level, seed: of the bootstrap, see :func:`~ckdmed.metrics.bootstrap_interval`.

    Returns:
        The loss as a fraction, below 0 for a gain; NaN where the mean of the reference is 0.

    Raises:
        ValueError: the patients are not the same ones, or no patient has a defined score in both.

    Examples:
        >>> relative_loss({"a": 0.4, "b": 0.6}, {"a": 0.8, "b": 0.8}).estimate
        0.375
    """
    if set(values) != set(reference):
        only = sorted(map(str, set(values) ^ set(reference)))
        raise ValueError(f"the scores are not of the same patients: {len(only)} in one only, among them {only[:5]}")
    pairs = np.array([[values[key], reference[key]] for key in sorted(values, key=str)], dtype=float).reshape(-1, 2)
    defined = pairs[~np.isnan(pairs).any(axis=1)]
    if not len(defined):
        raise ValueError("no patient has a defined score in both: there is nothing to compare")

    def lost(drawn: np.ndarray) -> np.ndarray:
        means = drawn.mean(axis=-2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(means[..., 1] == 0, np.nan, 1 - means[..., 0] / means[..., 1])

    low = high = float("nan")
    if len(defined) > 1:
        draws = [lost(defined[index]) for index in resample_groups(len(defined), n, seed, width=2 * len(defined))]
        low, high = percentile_limits(np.concatenate(draws), level)
    return Interval(float(lost(defined)), low, high, level, len(defined), len(defined), len(pairs) - len(defined))
