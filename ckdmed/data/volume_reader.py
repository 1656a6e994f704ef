"""Volumes from NIfTI files and DICOM series, with their place in space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from ckdmed.data.dicom_file import dicom_images
from ckdmed.data.dicom_series import read_dicom_volume
from ckdmed.data.nifti_files import VolumeFileError, nifti_values
from ckdmed.data.volume_headers import read_volume_header

__all__ = ["VolumeReader", "dicom_files", "is_nifti", "read_volume", "stacked_volumes"]


def is_nifti(path: PathLike) -> bool:
    """Whether a name ends in .nii or .nii.gz."""
    return str(path).lower().endswith((".nii", ".nii.gz"))


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM images directly in a folder, by their content; a DICOMDIR, a report or a dose does not count."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            with open(path, "rb") as stream:
                if stream.read(132)[128:] == b"DICM":
                    found.append(path)
    return dicom_images(found)[0]


def read_volume(source: PathLike | Sequence[PathLike]) -> tuple[np.ndarray, np.ndarray]:
    """Read one volume.

    Args:
        source: a NIfTI file, a folder that holds one DICOM series, or the files of a DICOM series.

    Returns:
        float32 array (X, Y, Z), or (X, Y, Z, n) of a 4-D NIfTI file, and its (4, 4) affine to RAS millimetres.

    Raises:
        VolumeFileError: no such file, empty, damaged, no NIfTI, colour or complex values, NaN or infinite values.
        FileTooLargeError: it would take more memory than is allowed, see `ckdmed.limits`.
        DicomFileError: see `ckdmed.data.dicom_series.read_dicom_volume`.
    """
    paths = [Path(path) for path in ensure_tuple(source)]
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        paths = dicom_files(folder)
        if not paths:
            raise VolumeFileError(f"{folder}: a folder without DICOM files.")
    if len(paths) > 1 or not is_nifti(paths[0]):
        array, affine = read_dicom_volume(paths)
    else:
        array, affine = _read_nifti(paths[0])
    if bad := int(np.count_nonzero(~np.isfinite(array))):
        raise VolumeFileError(f"{paths[0]}: holds {bad} NaN or infinite values.")
    return array, affine


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    header = read_volume_header(path)
    _, array = nifti_values(path)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    return np.asarray(array), header.affine


class VolumeReader(ImageReader):
    """MONAI reader of NIfTI files and folders of one DICOM series, by one rule for their geometry.

    Example::

        LoadImaged(["t1n", "t1c"], reader=VolumeReader, ensure_channel_first=True)
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        return all(is_nifti(path) or Path(path).is_dir() for path in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> tuple[Path, ...]:
        """Take the paths; `get_data` opens them.

        `LoadImage` answers an exception from `read` by trying its other readers, which would believe what this one
        refuses; an exception from `get_data` reaches the user as it is.
        """
        return tuple(Path(path) for path in ensure_tuple(data))

    def get_data(self, img: Sequence[PathLike] | PathLike) -> tuple[np.ndarray, dict[str, Any]]:
        """The array, channel first where there are several volumes, and its metadata.

        Raises:
            VolumeFileError: several volumes that differ in shape; see also `read_volume`.
            FileTooLargeError, DicomFileError: see `read_volume`.
        """
        return stacked_volumes([(Path(path), *read_volume(path)) for path in ensure_tuple(img)])


def stacked_volumes(volumes: Sequence[tuple[Path, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, dict[str, Any]]:
    """One array, channel first where there are several volumes, and the metadata that MONAI's transforms need.

    Args:
        volumes: file, array and (4, 4) affine of each.

    Raises:
        VolumeFileError: the volumes differ in shape.
    """
    path, first, affine = volumes[0]
    for other, array, _ in volumes[1:]:
        if array.shape != first.shape:
            raise VolumeFileError(
                f"{other} has shape {array.shape}, but {path} has {first.shape}; they cannot be stacked."
            )
    several = len(volumes) > 1
    channel: float | int = 0 if several else (3 if first.ndim == 4 else float("nan"))
    meta = {
        MetaKeys.AFFINE: affine,
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.array(first.shape[:3]),
        MetaKeys.ORIGINAL_CHANNEL_DIM: channel,
        MetaKeys.SPACE: SpaceKeys.RAS,
        "filename_or_obj": str(path),
    }
    return (np.stack([array for _, array, _ in volumes]) if several else first), meta
