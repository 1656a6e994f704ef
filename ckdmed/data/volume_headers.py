"""Headers of volumes, and whether two files lie on one grid."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from monai.config import PathLike

from ckdmed.data.nifti_affine import affine_text
from ckdmed.data.nifti_files import VolumeFileError, affine_mm, read_nifti_header

__all__ = ["DEFAULT_TOLERANCE_MM", "VolumeHeader", "affine_text", "grid_disagreement", "read_volume_header"]

DEFAULT_TOLERANCE_MM = 0.1


@dataclass(frozen=True)
class VolumeHeader:
    """What a header says.

    Args:
        path: the file.
        shape: of the array, 3 or 4 axes.
        affine: (4, 4), index to millimetres, RAS.
    """

    path: Path
    shape: tuple[int, ...]
    affine: np.ndarray

    @property
    def grid(self) -> tuple[int, int, int]:
        return self.shape[0], self.shape[1], self.shape[2]


def read_volume_header(path: PathLike) -> VolumeHeader:
    """Read the header of a NIfTI file, not its voxels.

    Raises:
        VolumeFileError: as `read_nifti_header`; neither 3-D nor 4-D, or an affine that is not finite or not invertible.
        FileTooLargeError: as `read_nifti_header`.
    """
    path = Path(path)
    image = read_nifti_header(path)
    shape, affine = tuple(int(size) for size in image.shape), affine_mm(image)
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise VolumeFileError(f"{path}: has shape {shape}; a volume has three axes, or four with the modalities last.")
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise VolumeFileError(f"{path}: its affine {affine_text(affine)} is not finite or cannot be inverted.")
    return VolumeHeader(path, shape, affine)


def grid_disagreement(
    first: VolumeHeader, second: VolumeHeader, tolerance_mm: float = DEFAULT_TOLERANCE_MM
) -> str | None:
    """In what two volumes differ, as text with both values; None where they lie on one grid.

    Affines are compared by the places that they give to the corners of the grid, so that the tolerance is a distance.

    Args:
        first, second: headers; of 4-D arrays the first three axes count.
        tolerance_mm: largest distance between corresponding corners. Default 0.1, a tenth of a BraTS voxel.
    """
    if first.grid != second.grid:
        return f"the grid of {second.path.name} is {second.grid}, but that of {first.path.name} is {first.grid}"
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in first.grid))], dtype=np.float64)
    apart = np.linalg.norm((corners @ (first.affine - second.affine).T)[:, :3], axis=1).max()
    if apart <= tolerance_mm:
        return None
    return (
        f"the affine of {second.path.name} is {affine_text(second.affine)}, but that of {first.path.name} is "
        f"{affine_text(first.affine)}; their corners lie up to {apart:.1f} mm apart"
    )
