"""The slices of a case and what was predicted in them, read back from the files of an inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation

from ckdmed.data.case_reader import CaseReader, says_where
from ckdmed.data.pictures import read_picture
from ckdmed.data.slice_files import MAX_SIDE, file_kind, read_slices
from ckdmed.data.slice_geometry import SliceGeometry, spatial_geometry
from ckdmed.data.volume_reader import is_nifti, read_volume
from ckdmed.labels import REGIONS, BratsLabels, brats_labels

from .inference_run import Result

__all__ = ["CaseImages", "read_case_images"]

_MASKS, _SEG = ("_mask.nii.gz", "_mask.png"), "_seg.nii.gz"
#: of a prediction without regions
_ONE_REGION = "tumour"


@dataclass(frozen=True)
class CaseImages:
    """One modality of a case as upright slices, and the regions that were predicted in them.

    Attributes:
        slices: (S, H, W), finite.
        regions: name -> (S, H, W) bool, outer regions first; none where classes were predicted.
        geometry: the way back to the file's array, with its affine.
        modality: what the slices are, "" where it is not known.
    """

    slices: np.ndarray
    regions: Mapping[str, np.ndarray]
    geometry: SliceGeometry
    modality: str = ""

    @property
    def has_place(self) -> bool:
        """Whether the file tells where in the patient its voxels lie."""
        return self.geometry.kind in ("nifti", "dicom")

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Distance of slices, rows and columns in mm; None where the file does not tell."""
        if not self.has_place:
            return None
        sizes = np.linalg.norm(np.array(self.geometry.affine)[:3, :3], axis=0)
        along, rows, columns = self.geometry.axes
        return float(sizes[along]), float(sizes[rows]), float(sizes[columns])

    @property
    def voxel_ml(self) -> float | None:
        """Volume of a voxel in ml; None where the file does not tell, or holds a single slice."""
        if not self.has_place or len(self.slices) < 2:
            return None
        return float(abs(np.linalg.det(np.array(self.geometry.affine)[:3, :3]))) / 1000

    @property
    def edges(self) -> tuple[str, str] | None:
        """What of the patient lies at the left and at the right edge of a slice; None where the file does not tell.

        Slices are turned to the radiological view (see `ckdmed.data.slice_geometry.spatial_geometry`): the patient's
        right is on the left, of sagittal slices the front.
        """
        if not self.has_place or not self.geometry.placed:
            return None
        world = io_orientation(np.array(self.geometry.affine))[:, 0]
        return ("R", "L") if int(world[self.geometry.axes[2]]) == 0 else ("A", "P")


def read_case_images(result: Result, settings: Mapping[str, Any]) -> CaseImages:
    """Read the images of a result and its masks.

    Args:
        result: of an inference.
        settings: of the inference.

    Raises:
        OSError: an input is no longer there.
        ValueError: an input or a mask cannot be read, or they do not fit each other; see the readers.
    """
    missing = [file for file in result.inputs if not file.exists()]
    if missing or not result.inputs:
        raise FileNotFoundError(f"{missing[0] if missing else result.name}: the input is no longer there.")
    seg = next((file for file in result.outputs if file.name.endswith(_SEG)), None)
    masks = [file for file in result.outputs if file.name.endswith(_MASKS)]
    # what classes of slices of a case were predicted of, even of a case of one file
    if seg is not None or settings.get("task") not in (None, "figshare"):
        return _of_case(result, seg, settings)
    if masks or file_kind(result.inputs[0]) not in (None, "nifti") or len(result.inputs) == 1:
        return _of_slices(result, masks, settings)
    return _of_case(result, None, settings)


def _of_slices(result: Result, masks: Sequence[Path], settings: Mapping[str, Any]) -> CaseImages:
    files = list(result.inputs)
    # several files are a series, or else the images that a network of several channels takes
    series = len(files) > 1 and all(file.is_file() and file_kind(file) == "dicom" for file in files)
    slices, geometry = read_slices(files if series else files[0], settings.get("slice_axis", -1))
    regions = {}
    for mask in masks:
        values = read_volume(mask)[0] if is_nifti(mask) else read_picture(mask, MAX_SIDE)
        if values.size != slices.size:
            raise ValueError(f"{mask}: has shape {values.shape}, its image {geometry.shape}; run the inference again.")
        regions[_region(mask, result)] = geometry.to_slices(np.asarray(values)) > 0
    return CaseImages(slices, regions, geometry)


def _region(mask: Path, result: Result) -> str:
    """What a mask is of, by its file's name; the input's own may hold dots, and begins with the folder of its files."""
    stem = next(mask.name.removesuffix(ending) for ending in _MASKS if mask.name.endswith(ending))
    return stem.removeprefix(PurePosixPath(result.name).name).lstrip("_") or _ONE_REGION


def _of_case(result: Result, seg: Path | None, settings: Mapping[str, Any]) -> CaseImages:
    used = [str(name) for name in settings.get("modalities") or ()]
    reference = 0
    labels: np.ndarray | None = None
    if seg is not None:
        labels, affine = read_volume(seg)
        reference = _same_grid(result.inputs, labels.shape, affine)
    channels, meta = CaseReader(reference=reference).get_data([str(file) for file in result.inputs])
    affine = np.asarray(meta["affine"], dtype=np.float64)
    # the channels of a single file have an order of their own, which is noted with its result
    noted = result.more.get("modalities") or (used if len(result.inputs) == len(channels) else ())
    held = [str(name) for name in noted] if len(noted) == len(channels) else []
    # as the overlay
    wanted = settings.get("overlay_on") or ("t2f" if "t2f" in used else used[-1] if used else "")
    channel = held.index(wanted) if wanted in held else -1
    picture = channels[channel]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    # as the overlay: thick slices as they were taken, others from below, as classes are predicted of all
    thick = labels is not None and spacing.max() > 1.5 * spacing.min()
    along: int | str = int(np.argmax(spacing)) if thick else "axial"
    placed = says_where(result.inputs[reference if len(result.inputs) > 1 else 0])
    geometry = spatial_geometry("nifti", picture.shape, affine, along, placed)
    regions = {}
    if labels is not None and seg is not None:
        table = _labels(labels, settings)
        # the larger ones first, under the others
        names = [name for name in ("WT", "TC", "ET") if name in settings.get("regions", REGIONS)]
        found = table.to_regions(labels.reshape(picture.shape), names)
        regions = {name: geometry.to_slices(mask) for name, mask in zip(names, found, strict=True)}
    name = held[channel] if held else ""
    return CaseImages(geometry.to_slices(picture), regions, geometry, name)


def _same_grid(files: Sequence[Path], shape: tuple[int, ...], affine: np.ndarray) -> int:
    """Which of the inputs has the grid of the mask."""
    for number, file in enumerate(files):
        values, own = read_volume(file)
        if values.shape[:3] == shape[:3] and np.allclose(own, affine, atol=1e-3):
            return number
    raise ValueError(f"{files[0]}: no input of this case has the grid of its mask; were they changed since?")


def _labels(values: np.ndarray, settings: Mapping[str, Any]) -> BratsLabels:
    """What the numbers of a mask mean: as it was set, else by the numbers, which only 2017 to 2022 have 4 among."""
    own = settings.get("labels")
    if isinstance(own, list) and len(own) == len(REGIONS):
        ncr, ed, et = (int(value) for value in own)
        return BratsLabels("own", ncr, ed, et)
    release = settings.get("release")
    if release is not None:
        return brats_labels(release)
    return brats_labels(2018 if (values == 4).any() else 2023)
