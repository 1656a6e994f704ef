"""Whether masks fit their images: grid, affine, labels, and tumour outside the brain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ckdmed.data.brats.headers import (
    DEFAULT_TOLERANCE_MM,
    VolumeFileError,
    grid_disagreement,
    open_nifti,
    read_volume_header,
)
from ckdmed.data.brats.masks import read_mask
from ckdmed.labels import BratsLabels
from ckdmed.limits import FileTooLargeError

__all__ = ["MaskCheck", "check_mask"]


@dataclass(frozen=True)
class MaskCheck:
    """What was found about one mask.

    Args:
        case: its name.
        grid, affine: whether they are those of the images.
        labels: the labels that are there, as "1 NCR 2 ED 3 ET".
        tumour_voxels: voxels that are not background.
        outside_voxels: those of them where every image is 0.
        problems: sentences; empty where the mask fits.
    """

    case: str
    grid: bool
    affine: bool
    labels: str
    tumour_voxels: int
    outside_voxels: int
    problems: tuple[str, ...]

    @property
    def outside_share(self) -> float:
        """`outside_voxels / tumour_voxels`; 0 for an empty mask."""
        return self.outside_voxels / self.tumour_voxels if self.tumour_voxels else 0.0


def check_mask(
    case: str,
    images: list[Path] | tuple[Path, ...],
    mask: Path,
    table: BratsLabels,
    outside_limit: float = 0.01,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
) -> MaskCheck:
    """Compare a mask with its images.

    Where the grids are equal the voxels are compared even if the affines are not: most often only the header is wrong.

    Args:
        case: its name, for the result.
        images: the case's images (3-D, or one 4-D); brain is where one of them is not 0.
        mask: the mask's file.
        table: the labels that it may hold.
        outside_limit: largest share of the tumour outside the brain, 0 to 1. Default 0.01: skull-stripping cuts
            into a tumour at the surface here and there.
        tolerance_mm: see `grid_disagreement`.

    Raises:
        ValueError: `outside_limit` is out of range, `images` is empty.
    """
    if not 0 <= outside_limit <= 1:
        raise ValueError(f"outside_limit must be a share from 0 to 1, got {outside_limit}.")
    if not images:
        raise ValueError(f"{case}: there is no image to compare the mask with.")
    problems: list[str] = []
    grid = affine = False
    labels, tumour, outside = "", 0, 0
    try:
        headers = [read_volume_header(path) for path in images]
        mask_header = read_volume_header(mask)
        grid = all(header.grid == mask_header.shape for header in headers)
        found = [grid_disagreement(header, mask_header, tolerance_mm) for header in headers]
        affine = grid and not any(found)
        # One message is enough where all images agree with each other.
        problems += sorted({text for text in found if text})[:1]
        values = read_mask(mask)
        present = [int(value) for value in np.unique(values) if value]
        labels = " ".join(f"{value} {table.names.get(value, '?')}" for value in present)
        if unknown := table.unknown(present):
            problems.append(
                f"not among the labels of BraTS {table.release}: {', '.join(f'{v:g}' for v in unknown[:5])}"
            )
        tumour = int(np.count_nonzero(values))
        if not tumour:
            problems.append("the mask is empty")
        if grid:
            outside = _outside(values != 0, images)
            if outside > outside_limit * tumour:
                problems.append(f"{outside} of {tumour} tumour voxels ({outside / tumour:.1%}) lie outside the brain")
    except (VolumeFileError, FileTooLargeError) as error:
        problems.append(str(error))
    return MaskCheck(case, grid, affine, labels, tumour, outside, tuple(problems))


def _outside(tumour: np.ndarray, images: list[Path] | tuple[Path, ...]) -> int:
    rest = tumour
    for path in images:
        image = open_nifti(path)
        try:
            values = np.asanyarray(image.dataobj)
        except Exception as error:
            raise VolumeFileError(
                f"{path}: truncated or damaged ({type(error).__name__}: {' '.join(str(error).split())[:200]})."
            ) from error
        rest = rest & ~((values != 0).any(axis=3) if values.ndim == 4 else values != 0)
    return int(np.count_nonzero(rest))
