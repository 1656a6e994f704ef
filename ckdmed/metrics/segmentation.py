from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import (
    CumulativeIterationMetric,
    compute_average_surface_distance,
    compute_confusion_matrix_metric,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    get_confusion_matrix,
)

from .binary_mask import binary_mask
from .denormals import with_denormals

__all__ = [
    "DISTANCE_SCORES",
    "EMPTY_RULES",
    "OVERLAP_SCORES",
    "SEGMENTATION_SCORES",
    "SegmentationScoresMetric",
    "segmentation_scores",
]

OVERLAP_SCORES = ("dice", "iou", "sensitivity", "specificity")
DISTANCE_SCORES = ("hd95", "asd")
SEGMENTATION_SCORES = ("dice", "iou", "hd95", "asd", "sensitivity", "specificity")

EMPTY_RULES = {
    "none": "truth and prediction both hold foreground: every score by its definition",
    "truth": "truth empty, prediction not: dice 0, iou 0, sensitivity undefined, hd95 and asd the image diagonal",
    "prediction": "prediction empty, truth not: dice 0, iou 0, sensitivity 0, hd95 and asd the image diagonal",
    "both": "both empty: dice 1, iou 1, sensitivity undefined, hd95 and asd 0",
}


def segmentation_scores(
    pred_mask: np.ndarray | torch.Tensor,
    true_mask: np.ndarray | torch.Tensor,
    spacing_mm: Sequence[float] | float | None = None,
) -> dict[str, Any]:
    """Score one binary mask against its truth; a perfect mask has dice = iou = 1 and distances 0.

    dice = 2 |P and T| / (|P| + |T|); iou = |P and T| / |P or T|; sensitivity = TP / (TP + FN);
    specificity = TN / (TN + FP). hd95 is the larger of the two directed 95th percentiles of the distances between the
    mask borders, asd the mean of all border distances in both directions (average symmetric surface distance). The
    border is the foreground with a background neighbour along an axis; outside of the image counts as background.

    Empty masks (``EMPTY_RULES``):

    ===============  =====  =====  ==============  ==============  ===========  ===========
    empty            dice   iou    hd95            asd             sensitivity  specificity
    ===============  =====  =====  ==============  ==============  ===========  ===========
    none             value  value  value           value           value        value
    truth            0      0      image diagonal  image diagonal  NaN          value
    prediction       0      0      image diagonal  image diagonal  0            1
    both             1      1      0               0               NaN          1
    ===============  =====  =====  ==============  ==============  ===========  ===========

    The image diagonal, sqrt(sum((size * spacing)^2)), exceeds every possible distance, so missing a tumour is never
    better than outlining it badly, and no case drops out of a mean distance. For a BraTS volume (240 x 240 x 155 at
    1 mm) it is 373.13 mm. The key ``empty`` names the row of the table, so that means with and without the penalised
    cases can both be reported. A truth without background has specificity NaN.

    Args:
        pred_mask: the prediction, 2-D or 3-D, of bool or of 0 and 1.
        true_mask: the truth, of the same shape.
        spacing_mm: size of a pixel along each axis in mm, or one number for all; None where it is not known, and
            distances are then in pixels.

    Returns:
        dice, iou, hd95, asd, sensitivity, specificity (floats), ``unit`` ("mm" or "px"), ``empty`` ("none", "truth",
        "prediction", "both"), ``true_size`` and ``pred_size`` (numbers of foreground pixels).

    Shape: both masks (H, W) or (D, H, W).

    Raises:
        ValueError: when the shapes differ, a mask is not 2-D or 3-D, a mask has no pixels, a mask holds other values
            than 0 and 1, or a spacing is not positive and finite or not one per axis.

    Source: MONAI's compute functions; of the empty cases MONAI leaves the distances NaN or infinite, so they are
        decided here.

    Examples:
        >>> a = np.zeros((8, 8), bool); a[2:6, 2:6] = True
        >>> segmentation_scores(a, np.roll(a, 1, axis=0), spacing_mm=0.5)["hd95"]
        0.5
    """
    pred, true = binary_mask(pred_mask, "prediction").cpu(), binary_mask(true_mask, "truth").cpu()
    if pred.shape != true.shape:
        raise ValueError(
            f"prediction and truth must have the same shape, got {tuple(pred.shape)} and {tuple(true.shape)}; "
            "map the prediction back to the grid of the truth first"
        )
    if pred.ndim not in (2, 3) or pred.numel() == 0:
        raise ValueError(f"masks must be 2-D or 3-D and not of size 0, got shape {tuple(pred.shape)}")
    spacing = _spacing(spacing_mm, pred.ndim)
    pred_size, true_size = int(pred.sum()), int(true.sum())

    p, t = pred[None, None].float(), true[None, None].float()
    confusion = get_confusion_matrix(p, t)
    scores: dict[str, Any] = {
        "dice": float(compute_dice(p, t, ignore_empty=False)),
        "iou": float(compute_iou(p, t, ignore_empty=False)),
        "hd95": math.nan,
        "asd": math.nan,
        "sensitivity": float(compute_confusion_matrix_metric("sensitivity", confusion)),
        "specificity": float(compute_confusion_matrix_metric("specificity", confusion)),
        "unit": "px" if spacing_mm is None else "mm",
        "empty": _which_is_empty(pred_size, true_size),
        "true_size": true_size,
        "pred_size": pred_size,
    }
    if scores["empty"] == "none":
        arguments: dict[str, Any] = {"include_background": True, "spacing": spacing}
        with with_denormals():
            scores["hd95"] = float(compute_hausdorff_distance(p, t, percentile=95, **arguments))
            scores["asd"] = float(compute_average_surface_distance(p, t, symmetric=True, **arguments))
    else:
        penalty = 0.0 if scores["empty"] == "both" else math.dist([0.0] * pred.ndim, np.multiply(pred.shape, spacing))
        scores["hd95"] = scores["asd"] = float(penalty)
    return scores


class SegmentationScoresMetric(CumulativeIterationMetric):
    """``segmentation_scores`` of every item and channel of a batch, gathered over batches and ranks as MONAI does.

    ``get_buffer()`` holds one row per item, (N, C, 6) in the order of ``SEGMENTATION_SCORES``; ``aggregate()`` returns
    the mean of each score over items and channels. Undefined scores (NaN: the sensitivity of an empty truth) are left
    out of the mean of that score alone.

    Args:
        spacing_mm: size of a pixel in mm per axis, the same for all items; None for distances in pixels.

    Shape: y_pred and y (B, C, *spatial) of 0 and 1, or lists of (C, *spatial).

    Examples:
        >>> metric = SegmentationScoresMetric()
        >>> _ = metric(torch.ones(2, 1, 8, 8), torch.ones(2, 1, 8, 8))
        >>> metric.aggregate()["dice"]
        1.0
    """

    def __init__(self, spacing_mm: Sequence[float] | float | None = None) -> None:
        super().__init__()
        self.spacing_mm = spacing_mm

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None:
            raise ValueError("SegmentationScoresMetric needs the truth beside the prediction")
        if y_pred.shape != y.shape:
            raise ValueError(f"y_pred and y must have the same shape, got {tuple(y_pred.shape)} and {tuple(y.shape)}")
        rows = []
        for item_pred, item_true in zip(y_pred, y):
            scores = [segmentation_scores(p, t, self.spacing_mm) for p, t in zip(item_pred, item_true)]
            rows.append([[s[name] for name in SEGMENTATION_SCORES] for s in scores])
        # float64 would be lost on devices without it; the scores themselves come from float32 arithmetic
        return torch.tensor(rows, dtype=torch.float32, device=y_pred.device)

    def aggregate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Mean of each score over all items and channels seen so far.

        Raises:
            ValueError: when nothing was scored.
        """
        buffer = self.get_buffer()
        if not isinstance(buffer, torch.Tensor) or buffer.numel() == 0:
            raise ValueError("nothing has been scored yet: call the metric on at least one batch before aggregate()")
        flat = buffer.double().reshape(-1, len(SEGMENTATION_SCORES)).nanmean(dim=0)
        return {name: float(value) for name, value in zip(SEGMENTATION_SCORES, flat)}


def _spacing(spacing_mm: Sequence[float] | float | None, ndim: int) -> list[float]:
    if spacing_mm is None:
        return [1.0] * ndim
    values = np.asarray(spacing_mm, dtype=float).reshape(-1)
    values = np.repeat(values, ndim) if values.size == 1 else values
    if values.size != ndim or not np.isfinite(values).all() or (values <= 0).any():
        raise ValueError(f"spacing_mm must be one positive number or {ndim} of them, got {spacing_mm!r}")
    return [float(v) for v in values]


def _which_is_empty(pred_size: int, true_size: int) -> str:
    if pred_size and true_size:
        return "none"
    if pred_size:
        return "truth"
    return "prediction" if true_size else "both"
