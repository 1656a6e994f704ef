"""The MONAI reader of every supported kind of file, as slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data.image_reader import ImageReader
from monai.utils import MetaKeys, ensure_tuple

from ckdmed.data.slice_files import file_kind, read_images
from ckdmed.data.slice_geometry import SLICE_AXES

__all__ = ["GEOMETRY_KEY", "SliceReader"]

GEOMETRY_KEY = "slice_geometry"


class SliceReader(ImageReader):
    """Read a Figshare ``.mat``, NIfTI, a DICOM file or series, PNG or JPEG as upright slices (S, rows, columns).

    The slices stand where MONAI has channels, so that the 2-D transforms treat each of them by itself: with
    ``channel_wise=True`` intensities are scaled per slice, as for a network that was trained on single slices. The
    metadata hold, under ``slice_geometry``, the text of a :class:`~ckdmed.data.slice_geometry.SliceGeometry`, which
    leads back to the file's array and affine. ``affine`` is the identity: the slices' own is in the geometry.

    Args:
        slice_axis: -1 (last array axis, default), 0, 1, 2, "axial", "coronal" or "sagittal"; of 3-D files.
        channels: how many images an input has, for a network of several input channels. With more than one each path
            is an image (a file, or a folder with one DICOM series), and the slices are (channels * S, rows, columns),
            those of the first image first.

    Raises:
        ValueError: `slice_axis` is none of these, or `channels` below 1.
        InputFileError: from `get_data`; see `ckdmed.data.slice_files.read_slices`. `read` only takes the path, because
            `LoadImage` hides what a reader's `read` raises.

    Example::

        LoadImaged(keys="image", reader=SliceReader()), EnsureChannelFirstd(keys="image")
    """

    def __init__(self, slice_axis: int | str = -1, channels: int = 1) -> None:
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}.")
        if slice_axis not in SLICE_AXES or isinstance(slice_axis, bool):
            raise ValueError(f"slice_axis must be one of {', '.join(map(str, SLICE_AXES))}, got {slice_axis!r}.")
        self.slice_axis = slice_axis
        self.channels = channels

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True where every file is of a kind that can be read, by its name or, for DICOM, its content."""
        return all(Path(path).is_dir() or file_kind(path) is not None for path in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> tuple[Path, ...]:
        """Take the path or the paths of one series; `get_data` opens them."""
        return tuple(Path(path) for path in ensure_tuple(data))

    def get_data(self, img: Sequence[PathLike] | PathLike) -> tuple[np.ndarray, dict]:
        """Read what `read` took.

        Returns:
            float32 slices (S, rows, columns), and the metadata; (channels * S, rows, columns) of several images.
        """
        slices, geometry = read_images(img, self.slice_axis, self.channels)
        meta = {
            MetaKeys.AFFINE.value: np.eye(4),
            MetaKeys.ORIGINAL_AFFINE.value: np.eye(4),
            MetaKeys.SPATIAL_SHAPE.value: np.asarray(slices.shape[1:]),
            MetaKeys.ORIGINAL_CHANNEL_DIM.value: 0,
            GEOMETRY_KEY: geometry.to_text(),
        }
        return slices, meta
