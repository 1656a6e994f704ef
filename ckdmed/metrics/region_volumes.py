"""Volumes of masks in millilitres."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["volumes_ml"]


def volumes_ml(masks: Mapping[str, np.ndarray], affine: np.ndarray) -> dict[str, float]:
    """What each mask marks: the number of its voxels times the size of one.

    Args:
        masks: name -> mask of any shape; what is not 0 is marked.
        affine: (4, 4), index to millimetres.

    Units: millilitres, to a thousandth.
    """
    voxel_ml = abs(float(np.linalg.det(np.asarray(affine, dtype=np.float64)[:3, :3]))) / 1000
    return {name: round(int(np.count_nonzero(mask)) * voxel_ml, 3) for name, mask in masks.items()}
