"""Any supported file as a stack of upright slices: Figshare .mat, NIfTI, DICOM, PNG and JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ckdmed.counted import counted
from ckdmed.data.dicom_file import dicom_images
from ckdmed.data.dicom_series import read_dicom_volume
from ckdmed.data.mat73 import numeric_array, open_mat, subgroup
from ckdmed.data.nifti_files import affine_mm, is_placed, nifti_values, read_nifti_header
from ckdmed.data.pictures import read_picture
from ckdmed.data.slice_geometry import SliceGeometry, plain_geometry, spatial_geometry
from ckdmed.paths import PathLike, path_list

__all__ = ["InputFileError", "check_same_grid", "file_kind", "read_images", "read_slices"]

MAX_SIDE = 8192
MAX_VALUES = 1 << 29
_TOLERANCE_MM = 1e-2
_SUFFIXES = {
    ".mat": "mat",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".dcm": "dicom",
    ".dicom": "dicom",
    ".ima": "dicom",
    ".png": "picture",
    ".jpg": "picture",
    ".jpeg": "picture",
}


class InputFileError(ValueError):
    """An input that cannot be used; the message names the file and the cause."""


def file_kind(path: PathLike) -> str | None:
    """The kind, "mat", "nifti", "dicom" or "picture", by the file's name; "dicom" also by its content; else None.

    DICOM files often have no suffix, or a number from their identifier.
    """
    name = str(path).lower()
    for suffix, kind in _SUFFIXES.items():
        if name.endswith(suffix):
            return kind
    try:
        with open(path, "rb") as stream:
            return "dicom" if stream.read(132)[128:] == b"DICM" else None
    except OSError:
        return None


def read_slices(files: Sequence[PathLike] | PathLike, slice_axis: int | str = -1) -> tuple[np.ndarray, SliceGeometry]:
    """Read one input.

    Args:
        files: a file, a folder that holds one DICOM series, or the files of a DICOM series.
        slice_axis: which axis of a volume its slices lie along, see `spatial_geometry`.

    Returns:
        float32 slices (S, rows, columns), upright, and the way back to the file's own array.

    Raises:
        InputFileError: no such file, empty, unknown kind, truncated or damaged; complex or colour NIfTI; not 2-D or
            3-D; slices narrower than 2 pixels or wider than `MAX_SIDE`; more than `MAX_VALUES` values; NaN or infinite
            values; constant.
    """
    paths = path_list(files)
    given = paths[0]
    if len(paths) == 1 and paths[0].is_dir():
        paths = [path for path in sorted(paths[0].iterdir()) if path.is_file() and file_kind(path) == "dicom"]
        paths = dicom_images(paths)[0]
        if not paths:
            raise InputFileError(f"{given}: a folder without DICOM files.")
    first = paths[0]
    try:
        array, geometry = _read(paths, slice_axis)
        slices = geometry.to_slices(array)
        _check_values(slices)
    except InputFileError:
        raise
    except MemoryError as error:
        raise InputFileError(f"{first}: there is not enough memory to read it.") from error
    # Each library raises its own kinds for damaged files, among them EOFError, zlib.error, struct.error, SyntaxError.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        # errors of our own readers begin with the file or its folder
        named = text.startswith((str(first), str(first.parent) + ":"))
        raise InputFileError(text if named else f"{first}: {text}") from error
    return np.ascontiguousarray(slices, dtype=np.float32), geometry


def read_images(
    files: Sequence[PathLike] | PathLike, slice_axis: int | str = -1, channels: int = 1
) -> tuple[np.ndarray, SliceGeometry]:
    """Read an input of one or several images.

    Args:
        files: of one image as `read_slices` takes them; of several, a path for each.
        slice_axis: see `read_slices`.
        channels: how many images an input has.

    Returns:
        float32 slices (channels * S, rows, columns), those of the first image first, and the way back to its array.

    Raises:
        InputFileError: as `read_slices`; another number of images, or images that lie on different grids.
    """
    if channels == 1:
        return read_slices(files, slice_axis)
    paths = path_list(files)
    if len(paths) != channels:
        raise InputFileError(
            f"{paths[0]}: the network takes {channels} images per input, got {len(paths)}; give a datalist whose "
            "items list them under 'image'."
        )
    parts = [read_slices(path, slice_axis) for path in paths]
    first, geometry = parts[0]
    for path, (slices, other) in zip(paths[1:], parts[1:]):
        check_same_grid(paths[0], geometry, first.shape, path, other, slices.shape)
    return np.concatenate([slices for slices, _ in parts]), geometry


def check_same_grid(
    first: PathLike,
    geometry: SliceGeometry,
    shape: tuple[int, ...],
    path: PathLike,
    other: SliceGeometry,
    found: tuple[int, ...],
) -> None:
    """Check that the slices of a further image, or of a label, lie where those of the first image do.

    Args:
        first, geometry, shape: of the first image, its slices being (S, rows, columns).
        path, other, found: of the other.

    Raises:
        InputFileError: other numbers of slices, rows or columns, or, where both have one, another affine (by more than
            0.01 mm).
    """
    if tuple(found) != tuple(shape):
        raise InputFileError(
            f"{path}: has {_size(found)}, but {first} has {_size(shape)}; resample them to one grid first."
        )
    spatial = {"nifti", "dicom"}
    if {geometry.kind, other.kind} <= spatial and not np.allclose(geometry.affine, other.affine, atol=_TOLERANCE_MM):
        raise InputFileError(f"{path}: its affine differs from that of {first}; resample it to the grid of that image.")


def _size(shape: tuple[int, ...]) -> str:
    return f"{counted(shape[0], 'slice')} of {shape[1]} x {shape[2]} pixels"


def _read(paths: Sequence[Path], slice_axis: int | str) -> tuple[np.ndarray, SliceGeometry]:
    if len(paths) > 1:
        volume, affine = read_dicom_volume(paths)
        return volume, spatial_geometry("dicom", volume.shape, affine, slice_axis)
    path = paths[0]
    if not path.is_file():
        raise InputFileError(f"{path}: no such file.")
    if path.stat().st_size == 0:
        raise InputFileError(f"{path}: the file is empty (0 bytes).")
    kind = file_kind(path)
    if kind == "mat":
        array = _mat_image(path)
        return array, plain_geometry(kind, (array.shape[0], array.shape[1]))
    if kind == "picture":
        array = read_picture(path, MAX_SIDE)
        return array, plain_geometry(kind, (array.shape[0], array.shape[1]))
    if kind == "nifti":
        return _nifti(path, slice_axis)
    if kind == "dicom":
        volume, affine = read_dicom_volume(paths)
        return volume, spatial_geometry(kind, volume.shape, affine, slice_axis)
    raise InputFileError(f"{path}: its type cannot be read; the types that can are {', '.join(_SUFFIXES)}.")


def _mat_image(path: Path) -> np.ndarray:
    # Only the image: what is to be segmented need not have a mask, a label or a patient.
    with open_mat(path) as file:
        struct = subgroup(path, file, "cjdata")
        array = numeric_array(path, file if struct is None else struct, "image")
    if array is None:
        raise InputFileError(f"{path}: there is no 'image' {'at the top level' if struct is None else 'in cjdata'}.")
    if array.ndim != 2:
        raise InputFileError(f"{path}: the image must be 2-D, got shape {array.shape}.")
    return array


def _nifti(path: Path, slice_axis: int | str) -> tuple[np.ndarray, SliceGeometry]:
    header = read_nifti_header(path)
    if not header.shape or min(header.shape) < 1:
        raise ValueError(f"shape {header.shape}: there is nothing to read.")
    geometry = spatial_geometry("nifti", header.shape, affine_mm(header), slice_axis, is_placed(header))
    return nifti_values(path)[1], geometry


def _check_values(slices: np.ndarray) -> None:
    height, width = slices.shape[1:]
    if min(height, width) < 2 or max(height, width) > MAX_SIDE or slices.size > MAX_VALUES:
        raise ValueError(
            f"{counted(len(slices), 'slice')} of {height} x {width} pixels; sides of 2 to {MAX_SIDE} and at most "
            f"{MAX_VALUES} values can be used. Is slice_axis the right one?"
        )
    bad = np.count_nonzero(~np.isfinite(slices)) if slices.dtype.kind == "f" else 0
    if bad:
        raise ValueError(f"holds {bad} NaN or infinite values.")
    if slices.min() == slices.max():
        raise ValueError(f"is constant ({slices.flat[0]} everywhere).")
