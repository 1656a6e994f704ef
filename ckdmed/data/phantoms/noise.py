"""Smooth random fields in space that any plane or volume may sample."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

__all__ = ["SmoothNoise"]

_SMOOTHING = 2.0
# White noise under a Gaussian of width s crosses zero every pi * sqrt(2) * s cells of a line (Rice's formula).
_CELLS_PER_CROSSING = float(np.pi * np.sqrt(2.0) * _SMOOTHING)


class SmoothNoise:
    """A periodic Gaussian random field over 3-D space with mean 0 and standard deviation 1.

    White noise on a cubic lattice, smoothed once; values between lattice points are linear. Because it is a function of
    position, neighbouring slices and whole volumes of one head see the same folds and textures.

    Args:
        rng: the only source of chance.
        cells: lattice points per edge, at least 16. The field repeats after ``cells / 8.9`` spacings.
    """

    def __init__(self, rng: np.random.Generator, cells: int = 64) -> None:
        if cells < 16:
            raise ValueError(f"a noise lattice needs at least 16 cells per edge, got {cells}")
        lattice = gaussian_filter(rng.standard_normal((cells,) * 3, dtype=np.float32), _SMOOTHING, mode="wrap")
        self._lattice = (lattice - lattice.mean()) / lattice.std()
        self._shift = rng.uniform(0, cells, (8, 3)).astype(np.float32)

    def __call__(self, points: np.ndarray, spacing: float, channel: int = 0) -> np.ndarray:
        """Sample the field.

        Args:
            points: (3, N) positions.
            spacing: mean distance between two zeros of the field along a line, in the unit of ``points``.
            channel: 0 to 7; each is the same lattice shifted far away, which makes it practically independent.

        Returns:
            (N,) float32.
        """
        coordinates = points * np.float32(_CELLS_PER_CROSSING / spacing) + self._shift[channel][:, None]
        return map_coordinates(self._lattice, coordinates, order=1, mode="grid-wrap", output=np.float32)
