"""Geometry that both the readers and the transforms need, below either of them."""

from __future__ import annotations

import numpy as np
from skimage.draw import polygon

__all__ = ["polygon_mask"]


def polygon_mask(points_xy: np.ndarray, shape: tuple[int, int], one_based: bool = False) -> np.ndarray:
    """Fill a closed polygon on an upright image grid.

    A pixel belongs to the mask when its centre lies inside the polygon or on its edge. The polygon is
    closed from its last point to its first; parts beyond the image are cut off.

    Args:
        points_xy: ``[n, 2]`` vertices, x (column, to the right) before y (row, downwards), n >= 3.
        shape: (rows, columns) of the mask.
        one_based: the coordinates count from 1, as MATLAB's do. Default: from 0, the centre of the
            first pixel being (0, 0).

    Returns:
        ``uint8`` array of ``shape``: 1 inside, 0 outside.

    Raises:
        ValueError: if ``points_xy`` is not ``[n, 2]``, has fewer than three points, or holds NaN or
            infinite values; if ``shape`` is not two positive numbers.

    Example::

        polygon_mask(np.array([[1, 1], [3, 1], [3, 2], [1, 2]]), (4, 5)).sum()  # 6: columns 1-3 of rows 1-2
    """
    points = np.asarray(points_xy, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"A polygon needs points of shape [n, 2] (x, y), got an array of shape {points.shape}.")
    if len(points) < 3:
        raise ValueError(f"A polygon needs at least three points, got {len(points)}.")
    if not np.isfinite(points).all():
        raise ValueError(
            f"A polygon needs finite coordinates, got {int((~np.isfinite(points)).sum())} NaN or infinite."
        )
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"A polygon is drawn on a grid of (rows, columns), both at least 1, got {tuple(shape)}.")
    if one_based:
        points = points - 1
    mask = np.zeros((int(shape[0]), int(shape[1])), dtype=np.uint8)
    rows, columns = polygon(points[:, 1], points[:, 0], mask.shape)
    mask[rows, columns] = 1
    return mask
