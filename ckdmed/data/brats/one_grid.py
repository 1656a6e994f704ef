"""Whether the files of a listed case lie on one grid: they are stacked and compared voxel by voxel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckdmed.data.volume_headers import DEFAULT_TOLERANCE_MM, grid_disagreement, read_volume_header

__all__ = ["grid_problem"]


def grid_problem(item: Mapping[str, Any], tolerance_mm: float = DEFAULT_TOLERANCE_MM) -> str:
    """In what the images of a case, or its mask, differ from the first image, with both values; "" for nothing.

    A file may have been replaced after its datalist was made, or the list written by hand. Headers alone are read.

    Args:
        item: see `load_brats_datalist`; whole paths.
        tolerance_mm: see `grid_disagreement`.

    Raises:
        VolumeFileError, FileTooLargeError: see `read_volume_header`.
    """
    files = [*item["image"], *([item["label"]] if "label" in item else [])]
    first, *others = [read_volume_header(file) for file in files]
    return "; ".join(filter(None, (grid_disagreement(first, other, tolerance_mm) for other in others)))
