"""Reading the labels of masks."""

from __future__ import annotations

import numpy as np
from monai.config import PathLike

from ckdmed.data.brats.headers import VolumeFileError, open_nifti

__all__ = ["read_mask"]


def read_mask(path: PathLike) -> np.ndarray:
    """The labels of a mask file, uint8.

    Raises:
        VolumeFileError: it cannot be read, or holds values that are no whole numbers from 0 to 255.
    """
    image = open_nifti(path)
    try:
        values = np.asanyarray(image.dataobj)
    except Exception as error:
        raise VolumeFileError(
            f"{path}: the mask cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})."
        ) from error
    if values.dtype.kind not in "biuf":
        raise VolumeFileError(f"{path}: a mask must hold numbers, got {values.dtype}.")
    labels = values.astype(np.uint8) if np.isfinite(values).all() else np.zeros(1, np.uint8)
    if not np.array_equal(labels, values):
        raise VolumeFileError(f"{path}: a mask must hold whole numbers from 0 to 255; this one has other values.")
    return labels
