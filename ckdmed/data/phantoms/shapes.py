"""Signed distances to simple bodies: negative inside, positive outside, in millimetres.

Points are (3, N) arrays. Ellipsoid distances are the usual first-order estimate, exact on the surface.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["capsule", "ellipsoid", "polyline", "smooth_max", "smooth_min"]


def _column(vector: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.asarray(vector, np.float32)[:, None]


def ellipsoid(points: np.ndarray, centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
    """Distance to an axis-aligned ellipsoid: k (k - 1) / |q / r| with q = (p - centre) / r and k = |q|."""
    scaled = (points - _column(centre)) / _column(radii)
    k = np.sqrt(np.einsum("in,in->n", scaled, scaled))
    scaled /= _column(radii)
    slope = np.sqrt(np.einsum("in,in->n", scaled, scaled))
    # At the centre both vanish; a little added to both gives the smallest half axis there.
    small = np.float32(1e-5)
    return (k + small) * (k - 1) / (slope + small / np.float32(min(radii)))


def capsule(points: np.ndarray, start: Sequence[float], end: Sequence[float], radius: float) -> np.ndarray:
    """Distance to the ball of ``radius`` swept along the segment from ``start`` to ``end``."""
    origin, axis = _column(start), _column(end) - _column(start)
    offset = points - origin
    along = np.clip((axis * offset).sum(0) / float((axis * axis).sum()), 0, 1)
    offset -= axis * along
    return np.sqrt(np.einsum("in,in->n", offset, offset)) - np.float32(radius)


def polyline(points: np.ndarray, corners: Sequence[Sequence[float]], radii: Sequence[float]) -> np.ndarray:
    """Distance to capsules chained through ``corners``; one radius for each of the ``len(corners) - 1`` pieces."""
    pieces = [capsule(points, a, b, r) for a, b, r in zip(corners[:-1], corners[1:], radii, strict=True)]
    return np.minimum.reduce(pieces)


def smooth_min(first: np.ndarray, second: np.ndarray, width: float) -> np.ndarray:
    """Union of two bodies whose seam is rounded over ``width`` millimetres (quadratic polynomial blend)."""
    overlap = np.maximum(np.float32(width) - np.abs(first - second), 0)
    return np.minimum(first, second) - overlap * overlap * np.float32(0.25 / width)


def smooth_max(first: np.ndarray, second: np.ndarray, width: float) -> np.ndarray:
    """Intersection of two bodies whose edge is rounded over ``width`` millimetres."""
    return -smooth_min(-first, -second, width)
