"""How methods compare feature maps: at their own resolution, or pooled to several scales with weights."""

from __future__ import annotations

from collections.abc import Sequence

from ckdmed.losses.conventions import PairLoss
from ckdmed.losses.feature_mse import FeatureMSELoss
from ckdmed.losses.msgff import MSGFFLoss

__all__ = ["feature_distance"]


def feature_distance(
    scales: Sequence[int | None] | None = None, scale_weights: str | None = None, normalize: str = "none"
) -> PairLoss:
    """The squared distance of two maps with equal channels.

    Args:
        scales: numbers of cells an axis that both maps are pooled to, with None for their own resolution; by default
            their own resolution alone.
        scale_weights: "uniform" (default) or "learned", see :class:`~ckdmed.losses.MSGFFLoss`; learned weights train
            with the student.
        normalize: see :class:`~ckdmed.losses.FeatureMSELoss`.

    Raises:
        ValueError: weights without scales, or learned weights of a single one, which would be 1 for ever.
    """
    if scales is None:
        if scale_weights is not None:
            raise ValueError(f"scale_weights={scale_weights!r} needs the scales that it weights: give scales as well.")
        return FeatureMSELoss(normalize=normalize, resize="min")
    if scale_weights == "learned" and len(scales) < 2:
        raise ValueError(f"learned weights need two or more scales; scales is {list(scales)}.")
    return MSGFFLoss(scales=scales, weights=scale_weights or "uniform", normalize=normalize)
