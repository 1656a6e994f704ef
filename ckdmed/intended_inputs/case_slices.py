"""The slices of a case of several images, as a check of inputs looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.utils import MetaKeys

from ckdmed.data.case_reader import CaseReader
from ckdmed.data.slice_geometry import spatial_geometry

__all__ = ["case_slices"]


def case_slices(
    reader: CaseReader, files: Sequence[Any], held: Sequence[str], wanted: Sequence[str]
) -> tuple[np.ndarray, float]:
    """Upright axial slices (M, S, H, W) of the wanted modalities of a case, on the grid that the reader takes, and
    their longer side in millimetres.

    Args:
        reader: of cases.
        files: one for each modality, or one 4-D file.
        held: what the files, or the channels of the one file, are.
        wanted: some of them, in the order of the result.

    Raises:
        VolumeFileError: see `CaseReader`.
    """
    native, meta = reader.get_data(reader.read(files))
    volumes = native[None] if native.ndim == 3 else np.moveaxis(native, int(meta[MetaKeys.ORIGINAL_CHANNEL_DIM]), 0)
    volumes = volumes[[list(held).index(modality) for modality in wanted]]
    geometry = spatial_geometry("nifti", volumes.shape[1:], meta[MetaKeys.AFFINE], "axial")
    return np.stack([geometry.to_slices(volume) for volume in volumes]), geometry.side_mm
