"""The images of one case, whatever their grids, as the channels of one volume."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import PathLike
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from monai.utils import MetaKeys, ensure_tuple

from ckdmed.data.nifti_files import VolumeFileError, is_placed, read_nifti_header
from ckdmed.data.series_identity import check_one_patient, other_coordinates
from ckdmed.data.volume_headers import DEFAULT_TOLERANCE_MM, VolumeHeader, grid_disagreement
from ckdmed.data.volume_reader import VolumeReader, is_nifti, read_volume, stacked_volumes

__all__ = ["REFERENCE_KEY", "CaseReader", "says_where"]

#: Where the metadata say whose grid it is; MONAI's ``filename_or_obj`` is the first file, whatever the reader says.
REFERENCE_KEY = "reference_file"

Volume = tuple[Path, np.ndarray, np.ndarray]


class CaseReader(VolumeReader):
    """Read the images of a case, NIfTI files or DICOM folders, onto the grid of one of them.

    Images on another grid are resampled linearly by the scanner's coordinates, with 0 where they do not reach. Nothing
    is registered: what moved between two series stays moved. One file of several channels is taken as it is.

    Args:
        reference: the image whose grid is used: its number, or its modality. Default None, the first.
        modalities: of the images, in their order; needed for a reference by name.
        tolerance_mm: how far corners of two grids may lie apart to be the same grid.

    Raises:
        ValueError: `reference` is none of the modalities.
        VolumeFileError: from `get_data`; an image cannot be read, is constant or no volume, or lies outside of the
            reference's grid; DICOM series are of several patients.

    Example::

        LoadImaged("image", reader=CaseReader(reference=1))({"image": ["t1n.nii.gz", "t1c.nii.gz"]})
    """

    def __init__(
        self,
        reference: int | str | None = None,
        modalities: Sequence[str] = (),
        tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    ) -> None:
        super().__init__()
        if isinstance(reference, str):
            if reference not in modalities:
                raise ValueError(f"the reference must be one of {', '.join(modalities)}, got {reference!r}.")
            reference = list(modalities).index(reference)
        self.reference = int(reference or 0)
        self.tolerance_mm = float(tolerance_mm)

    def get_data(self, img: Sequence[PathLike] | PathLike) -> tuple[np.ndarray, dict[str, Any]]:
        """The channels on the reference's grid, channel first also where there is one, and its metadata."""
        volumes, reference = self._volumes(ensure_tuple(img))
        path, array, affine = reference
        on_grid = [volume[1] if self._same(reference, volume) else _resampled(reference, volume) for volume in volumes]
        image, meta = stacked_volumes([(path, values, affine) for values in on_grid])
        # NaN is MONAI's word for no channel
        channel = meta[MetaKeys.ORIGINAL_CHANNEL_DIM]
        image = image[None] if np.isnan(channel) else np.moveaxis(image, channel, 0)
        return image, {**meta, MetaKeys.ORIGINAL_CHANNEL_DIM: 0, REFERENCE_KEY: str(path)}

    def check(self, paths: Sequence[PathLike]) -> None:
        """Read the images and check whether they can be resampled to one grid, without doing so.

        Raises:
            VolumeFileError: as `get_data`.

        Warns:
            UserWarning: DICOM series are of several frames of reference, so that their coordinates may not fit.
        """
        _, (reference, _, _) = self._volumes(paths)
        for told in other_coordinates({str(path): Path(path) for path in paths}, str(reference)).values():
            warnings.warn(
                f"{told}; they are brought together by the scanner's coordinates, which may not fit: register them "
                "first (ckdmed prepare --coregister).",
                stacklevel=2,
            )

    def _volumes(self, paths: Sequence[PathLike]) -> tuple[list[Volume], Volume]:
        check_one_patient(map(Path, paths))
        volumes = [(Path(path), *read_volume(path)) for path in paths]
        for path, array, _ in volumes:
            if array.ndim != (3 if len(volumes) > 1 else array.ndim) or min(array.shape[:3]) < 2:
                raise VolumeFileError(f"{path}: has shape {array.shape}; a volume has three axes of 2 or more voxels.")
            if array.min() == array.max():
                raise VolumeFileError(f"{path}: is constant ({array.flat[0]:g} everywhere).")
        reference = volumes[self.reference if len(volumes) > 1 else 0]
        for volume in volumes:
            check_places(reference, volume)
            check_meeting(reference, volume)
        return volumes, reference

    def _same(self, reference: Volume, volume: Volume) -> bool:
        return _disagreement(reference, volume, self.tolerance_mm) is None


def _disagreement(reference: Volume, volume: Volume, tolerance_mm: float) -> str | None:
    first, second = (VolumeHeader(path, array.shape, affine) for path, array, affine in (reference, volume))
    return grid_disagreement(first, second, tolerance_mm)


def says_where(path: Path) -> bool:
    """Whether a file, or a folder of one DICOM series, has an affine of its own."""
    return path.is_dir() or not is_nifti(path) or is_placed(read_nifti_header(path))


def check_places(reference: Volume, volume: Volume) -> None:
    """Check that two files, by path, array and the affine that was read, say where they lie or are on one grid.

    Raises:
        VolumeFileError: they are on different grids, and a NIfTI file does not say where it lies.
    """
    for path in (reference[0], volume[0]):
        if not says_where(path) and _disagreement(reference, volume, DEFAULT_TOLERANCE_MM):
            raise VolumeFileError(
                f"{path}: has no orientation (sform_code and qform_code are 0), so left and right are unknown, and "
                f"{reference[0].name} and {volume[0].name} are on different grids. Write its affine into its header, "
                "or resample the images to one grid first."
            )


def check_meeting(reference: Volume, volume: Volume) -> None:
    """Check that some of a lattice of places in the reference lies within the volume, by path, array and affine.

    Raises:
        VolumeFileError: none does.
    """
    axes = [np.linspace(0, size - 1, 9) for size in reference[1].shape[:3]]
    places = np.stack([*np.meshgrid(*axes, indexing="ij"), np.ones((9, 9, 9))]).reshape(4, -1)
    index = (np.linalg.inv(volume[2]) @ reference[2] @ places)[:3]
    upper = np.array(volume[1].shape[:3])[:, None] - 0.5
    if not ((index >= -0.5) & (index <= upper)).all(axis=0).any():
        raise VolumeFileError(
            f"{volume[0]}: lies wholly outside {reference[0].name} according to their affines; they are not from one "
            "examination, or a header is wrong."
        )


def _resampled(reference: Volume, volume: Volume) -> np.ndarray:
    _, array, affine = volume
    # float32 is what grids of a few hundred voxels need; MONAI computes in float64 unless told
    resample = SpatialResample(mode="bilinear", padding_mode="zeros", dtype=np.float32)
    moving = MetaTensor(torch.from_numpy(np.ascontiguousarray(array))[None], affine=torch.from_numpy(affine))
    moved = resample(moving, dst_affine=torch.from_numpy(reference[2]), spatial_size=reference[1].shape[:3])
    return np.asarray(moved[0].numpy(), dtype=np.float32)
