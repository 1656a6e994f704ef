from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.metrics.utils import get_edge_surface_distance
from scipy import ndimage

from .denormals import with_denormals

__all__ = ["BRATS_2023_LESION_RULES", "LESION_PENALTY_MM", "LesionRules", "lesionwise_scores"]

LESION_PENALTY_MM = 374.0

_DILATION_ELEMENT = ndimage.generate_binary_structure(3, 2)
_CONNECTIVITY_26 = ndimage.generate_binary_structure(3, 3)


@dataclass(frozen=True)
class LesionRules:
    """Constants of one challenge.

    Attributes:
        dilation: iterations by which the truth is dilated (18-neighbourhood), in voxels.
        ignored_volume_mm3: truth lesions of this volume or less are left out of the score.
    """

    dilation: int
    ignored_volume_mm3: float


BRATS_2023_LESION_RULES = {
    "GLI": LesionRules(dilation=3, ignored_volume_mm3=50.0),
    "SSA": LesionRules(dilation=3, ignored_volume_mm3=50.0),
    "MEN": LesionRules(dilation=1, ignored_volume_mm3=50.0),
    "PED": LesionRules(dilation=3, ignored_volume_mm3=50.0),
    "MET": LesionRules(dilation=1, ignored_volume_mm3=2.0),
}


def lesionwise_scores(
    pred_mask: np.ndarray | torch.Tensor,
    true_mask: np.ndarray | torch.Tensor,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    challenge: str = "GLI",
) -> dict[str, Any]:
    """Lesion-wise Dice and HD95 of one region of one case, as BraTS 2023 ranks by; 1 and 0 mm for a perfect mask.

    Truth components whose dilations touch are one lesion. A lesion is compared with all predicted components
    (26-connected) that meet its dilation. A lesion that no component meets is missed: Dice 0, HD95 374 mm. A component
    that meets no lesion is false: Dice 0, HD95 374 mm. With L the lesions above the ignored volume and F the false
    components,

        lesionwise_dice = sum of Dice over L / (|L| + |F|)
        lesionwise_hd95_mm = (sum of HD95 over L + 374 |F|) / (|L| + |F|)

    and 1 and 0 mm where there is neither a lesion nor a false component. Small lesions count neither as found nor as
    missed, and a component that meets one is not false. The keys differ from those of ``segmentation_scores`` because
    the two kinds of score must never share a column.

    Args:
        pred_mask: prediction of one region (ET, TC or WT), 3-D, bool or 0 and 1.
        true_mask: truth, of the same shape.
        spacing_mm: voxel size per axis; BraTS volumes are at 1 mm. Dilation counts voxels, volumes are in mm3.
        challenge: "GLI", "SSA", "MEN", "PED" or "MET" (``BRATS_2023_LESION_RULES``).

    Returns:
        ``lesionwise_dice``, ``lesionwise_hd95_mm``, ``n_lesions`` (above the ignored volume), ``n_found``,
        ``n_missed``, ``n_false``, ``n_ignored``, and ``lesions``: for each truth lesion ``volume_mm3``, ``dice``,
        ``hd95_mm``, ``n_components`` (that were matched) and ``ignored``.

    Raises:
        ValueError: when the masks are not 3-D or differ in shape, hold other values than 0 and 1, the spacing is not
            three positive numbers, or the challenge is unknown.

    Source: Saluja et al., BraTS 2023 lesion-wise performance metrics
        (https://github.com/rachitsaluja/BraTS-2023-Metrics). The published text says lesions under 50 voxels; its code
        ignores those of 50 mm3 and less, and so does this. HD95 weighs border elements by their area, as that code.
    """
    if challenge not in BRATS_2023_LESION_RULES:
        raise ValueError(f"challenge must be one of {sorted(BRATS_2023_LESION_RULES)}, got {challenge!r}")
    rules = BRATS_2023_LESION_RULES[challenge]
    pred, true = _volume(pred_mask, "prediction"), _volume(true_mask, "truth")
    if pred.shape != true.shape:
        raise ValueError(f"prediction and truth must have the same shape, got {pred.shape} and {true.shape}")
    spacing = [float(v) for v in spacing_mm]
    if len(spacing) != 3 or not np.isfinite(spacing).all() or min(spacing) <= 0:
        raise ValueError(f"spacing_mm must be three positive numbers, got {spacing_mm!r}")

    components, n_components = ndimage.label(pred, _CONNECTIVITY_26)
    boxes = ndimage.find_objects(components)
    matched: set[int] = set()
    lesions = []
    for lesion in _lesions(true, rules.dilation):
        # everything a lesion can meet lies within its own box, widened by the dilation
        box = _bounding_box(lesion, rules.dilation, true.shape)
        reach = ndimage.binary_dilation(_within(lesion, box), _DILATION_ELEMENT, iterations=rules.dilation)
        met = [int(c) for c in np.unique(components[box][reach]) if c]
        matched.update(met)
        extent = _union([box, *(boxes[c - 1] for c in met)])
        own = np.isin(components[extent], met)
        lesions.append(_score_lesion(own, _within(lesion, extent), spacing, len(met), rules))

    counted = [lesion for lesion in lesions if not lesion["ignored"]]
    n_false = n_components - len(matched)
    n_found = sum(lesion["n_components"] > 0 for lesion in counted)
    total = len(counted) + n_false
    dice, hd95 = sum(s["dice"] for s in counted), sum(s["hd95_mm"] for s in counted) + LESION_PENALTY_MM * n_false
    return {
        "lesionwise_dice": dice / total if total else 1.0,
        "lesionwise_hd95_mm": hd95 / total if total else 0.0,
        "n_lesions": len(counted),
        "n_found": n_found,
        "n_missed": len(counted) - n_found,
        "n_false": n_false,
        "n_ignored": len(lesions) - len(counted),
        "lesions": lesions,
    }


def _lesions(true: np.ndarray, dilation: int) -> list[np.ndarray]:
    """Voxel coordinates (n, 3) of each lesion: the truth within one component of the dilated truth."""
    if not true.any():
        return []
    box = _bounding_box(np.argwhere(true), dilation, true.shape)
    grown = ndimage.binary_dilation(true[box], _DILATION_ELEMENT, iterations=dilation)
    labels, count = ndimage.label(grown, _CONNECTIVITY_26)
    coordinates = np.argwhere(true[box])
    owner = labels[true[box]]
    offset = np.array([s.start for s in box])
    return [coordinates[owner == label] + offset for label in range(1, count + 1)]


def _score_lesion(
    pred: np.ndarray, true: np.ndarray, spacing: list[float], n_met: int, rules: LesionRules
) -> dict[str, Any]:
    volume = float(true.sum() * np.prod(spacing))
    return {
        "volume_mm3": volume,
        "dice": 2.0 * float((pred & true).sum()) / float(pred.sum() + true.sum()),
        "hd95_mm": _hd95_by_area(pred, true, spacing) if n_met else LESION_PENALTY_MM,
        "n_components": n_met,
        "ignored": volume <= rules.ignored_volume_mm3,
    }


def _hd95_by_area(pred: np.ndarray, true: np.ndarray, spacing: list[float]) -> float:
    """The larger of the two 95th percentiles, each border element weighing by its area."""
    with with_denormals():
        edges, distances, areas = get_edge_surface_distance(
            torch.from_numpy(pred),
            torch.from_numpy(true),
            spacing=spacing,
            use_subvoxels=True,
            symmetric=True,
            warn_empty=False,
        )
    return max(_percentile(d, a[e]) for e, d, a in zip(edges, distances, areas))


def _percentile(distances: torch.Tensor, areas: torch.Tensor) -> float:
    order = torch.argsort(distances)
    cumulative = torch.cumsum(areas.double()[order], 0)
    position = int(torch.searchsorted(cumulative, 0.95 * cumulative[-1]))
    return float(distances[order][min(position, len(distances) - 1)])


def _bounding_box(coordinates: np.ndarray, margin: int, shape: tuple[int, ...]) -> tuple[slice, ...]:
    low = np.maximum(coordinates.min(0) - margin, 0)
    high = np.minimum(coordinates.max(0) + margin + 1, shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high))


def _union(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes))


def _within(coordinates: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
    """A lesion drawn into a box that holds all of it."""
    mask = np.zeros([s.stop - s.start for s in box], dtype=bool)
    mask[tuple((coordinates - [s.start for s in box]).T)] = True
    return mask


def _volume(mask: np.ndarray | torch.Tensor, name: str) -> np.ndarray:
    array = mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"the {name} must be a 3-D volume, got shape {array.shape}; lesion-wise scores need volumes")
    if array.dtype != bool and not ((array == 0) | (array == 1)).all():
        raise ValueError(f"the {name} must hold 0 and 1 only; take one region (ET, TC or WT) at a time")
    return array.astype(bool)
