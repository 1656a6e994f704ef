"""What several networks make of one image together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

__all__ = ["AVERAGES", "Agreed", "combined"]

AVERAGES = ("prob", "logit")
_LEAST = 1e-6


class Agreed(NamedTuple):
    """The ensemble's answer for one image.

    Attributes:
        probability: the average, in [0, 1].
        mask: where it is at least 1/2 and at least the smallest confidence, bool.
        agreement: mean Dice of the single networks' masks, two by two; 1 where all are empty, or for one network.
        kept: share of the voxels with an average of at least 1/2 that are sure enough; 1 where there are none.
    """

    probability: np.ndarray
    mask: np.ndarray
    agreement: float
    kept: float

    @property
    def confidence(self) -> float:
        """Mean probability of what is said of a voxel, be it tumour or not."""
        return float(np.maximum(self.probability, 1 - self.probability).mean())


def combined(probabilities: Sequence[np.ndarray], average: str = "prob", min_confidence: float = 0.5) -> Agreed:
    """Average the networks' probabilities of one image, and say how far they agree.

    Args:
        probabilities: one array of each network, of one shape, in [0, 1].
        average: "prob" for the mean of the probabilities, "logit" for that of their logits.
        min_confidence: in [0.5, 1]; voxels of the tumour with a smaller average are left out of the mask.

    Raises:
        ValueError: no arrays, other shapes, another average, a confidence outside [0.5, 1].
    """
    if average not in AVERAGES:
        raise ValueError(f"average must be one of {', '.join(AVERAGES)}, got {average!r}.")
    if not 0.5 <= min_confidence <= 1:
        raise ValueError(f"min_confidence is {min_confidence}; it must lie in [0.5, 1].")
    shapes = {array.shape for array in probabilities}
    if len(shapes) != 1:
        raise ValueError(f"the networks' outputs must have the same shape, got {sorted(shapes) or 'none'}.")
    values = np.stack([np.asarray(array, dtype=np.float64) for array in probabilities])
    if average == "prob":
        mean = values.mean(axis=0)
    else:
        inside = np.clip(values, _LEAST, 1 - _LEAST)
        mean = 1 / (1 + np.exp(-np.log(inside / (1 - inside)).mean(axis=0)))
    tumour, mask = mean >= 0.5, mean >= max(min_confidence, 0.5)
    pairs = [_dice(a, b) for a, b in combinations(values >= 0.5, 2)]
    kept = float(mask.sum() / tumour.sum()) if tumour.any() else 1.0
    return Agreed(mean, mask, float(np.mean(pairs)) if pairs else 1.0, kept)


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0
