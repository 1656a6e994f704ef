"""A label image as a stack of upright slices of whole numbers: PNG, NIfTI, or the mask of a Figshare .mat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from monai.config import PathLike
from PIL import Image

from ckdmed.data.mat73 import numeric_array, open_mat, subgroup
from ckdmed.data.nifti_files import affine_mm, nifti_values, read_nifti_header
from ckdmed.data.pictures import check_picture, turned_upright
from ckdmed.data.slice_files import MAX_SIDE, InputFileError, file_kind
from ckdmed.data.slice_geometry import SliceGeometry, plain_geometry, spatial_geometry

__all__ = ["read_label_slices"]

_MAX_LABEL = 65535
_MODES = ("1", "L", "P", "I", "I;16", "I;16B")


def read_label_slices(
    path: PathLike, slice_axis: int | str = -1, soft: bool = False
) -> tuple[np.ndarray, SliceGeometry]:
    """Read the label of an image.

    Args:
        path: a PNG with one channel (of a palette the indices count, not the colours), a NIfTI file of whole numbers,
            or a MATLAB v7.3 file with ``tumorMask`` (in ``cjdata`` or at the top level).
        slice_axis: as for the image, see :func:`~ckdmed.data.slice_geometry.spatial_geometry`.
        soft: the label holds probabilities, 0 to 1 in a NIfTI file and 0 to 65535 in a 16-bit PNG.

    Returns:
        int32 (of probabilities float32) slices (S, rows, columns), upright, and the way back to the file's own array.

    Raises:
        InputFileError: no such file, another kind (a JPEG changes the numbers), colours, or values that are no whole
            numbers from 0 to 65535, or no probabilities; a PNG of probabilities with 8 bits; damage of any sort.
    """
    path = Path(path)
    if not path.is_file():
        raise InputFileError(f"{path}: no such label file.")
    try:
        array, geometry = _read(path, slice_axis, soft)
        values = geometry.to_slices(array)
        if soft:
            shares = values.astype(np.float32) / (_MAX_LABEL if file_kind(path) == "picture" else 1)
            if not (np.isfinite(shares).all() and shares.min() >= 0 and shares.max() <= 1):
                raise ValueError("a label of probabilities must hold numbers from 0 to 1; found other values.")
            return np.ascontiguousarray(shares), geometry
        rounded = np.rint(values)
        if (
            not np.isfinite(values).all()
            or (rounded != values).any()
            or rounded.min() < 0
            or rounded.max() > _MAX_LABEL
        ):
            raise ValueError(f"a label must hold whole numbers from 0 to {_MAX_LABEL}; found other values.")
    except InputFileError:
        raise
    # Each library raises its own kinds for damaged files, as for images.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputFileError(text if text.startswith(str(path)) else f"{path}: {text}") from error
    return np.ascontiguousarray(rounded, dtype=np.int32), geometry


def _read(path: Path, slice_axis: int | str, soft: bool) -> tuple[np.ndarray, SliceGeometry]:
    kind = file_kind(path)
    if kind == "picture":
        array = _picture(path, soft)
        return array, plain_geometry(kind, (array.shape[0], array.shape[1]))
    if kind == "nifti":
        geometry = spatial_geometry(kind, read_nifti_header(path).shape, affine_mm(read_nifti_header(path)), slice_axis)
        return nifti_values(path)[1], geometry
    if kind == "mat":
        with open_mat(path) as file:
            struct = subgroup(path, file, "cjdata")
            mask = numeric_array(path, file if struct is None else struct, "tumorMask")
        if mask is None or mask.ndim != 2:
            raise ValueError("there is no 2-D 'tumorMask' in it.")
        return mask, plain_geometry(kind, (mask.shape[0], mask.shape[1]))
    raise ValueError("a label must be a PNG, NIfTI or Figshare .mat file.")


def _picture(path: Path, soft: bool) -> np.ndarray:
    orientation = check_picture(path, MAX_SIDE)
    with Image.open(path, formats=("PNG", "JPEG")) as image:
        if image.format != "PNG":
            raise ValueError("JPEG compression changes the values of a label; save it as PNG.")
        if image.mode not in _MODES:
            raise ValueError(
                f"a label must have one channel, but this PNG is {image.mode}; save the label's values as grey values."
            )
        if soft and not image.mode.startswith("I"):
            raise ValueError(
                "a PNG of probabilities must have 16 bits, where 65535 stands for 1; this one has 8 or fewer. Save it "
                "with 16 bits, or as NIfTI with values from 0 to 1."
            )
        return turned_upright(np.asarray(image).astype(np.int64), orientation)
