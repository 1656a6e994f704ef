"""The series that a result is of: its images in the order of the mask's slices, and what results inherit from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.valuerep import DA, TM

from ckdmed.data.dicom_file import open_dicom
from ckdmed.data.dicom_series import DicomFileError, SeriesGrid, read_series_grid

__all__ = ["SourceSeries", "read_source_series"]

# A result cannot refer to an image without these.
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality")
# All images of a series agree in these, or they are a mixture of patients or studies.
_SHARED = ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "SOPClassUID")
# Whatever an image holds that is none of these makes libraries refuse all of its results.
_LEGAL: dict[str, Callable[[str], object]] = {
    "PatientBirthDate": DA,
    "PatientSex": ("", "M", "F", "O").index,
    "StudyDate": DA,
    "StudyTime": TM,
}
# in which all names can be written; highdicom does not know all that may stand in an image
_CHARACTERS = "ISO_IR 192"
# An image has to have them, though they may be empty; many that were made anonymous lack them.
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)


@dataclass(frozen=True)
class SourceSeries:
    """One series, without its pixels.

    Args:
        grid: of its slices.
        images: its files' datasets without pixels, in the order of the slices; one dataset of an enhanced file. Texts
            that results inherit are in UTF-8, dates, times and a sex that are none are empty.
    """

    grid: SeriesGrid
    images: tuple[Dataset, ...]

    @property
    def first(self) -> Dataset:
        return self.images[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        return self.grid.shape

    @property
    def enhanced(self) -> bool:
        """Whether the slices are frames of one file."""
        return self.grid.headers[0].size[2] > 1

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """From column to column, row to row and, along their normal, slice to slice: the edges of a voxel."""
        columns, rows, _ = np.linalg.norm(self.grid.affine[:3, :3], axis=0).tolist()
        # of a stack that leans the slices are further apart, and its voxels no larger
        return columns, rows, abs(float(np.linalg.det(self.grid.affine[:3, :3]))) / (columns * rows)

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells this series from any other, an added or lost image included."""
        return (str(self.first.SeriesInstanceUID), *(str(image.SOPInstanceUID) for image in self.images))

    @property
    def number(self) -> int:
        """The series' number, 0 where it has none; results are numbered after it."""
        try:
            return abs(int(str(self.first.get("SeriesNumber"))))
        except ValueError:
            return 0

    def frames(self, slices: np.ndarray) -> np.ndarray:
        """An array (columns, rows, slices) as frames (slices, rows, columns), in the order of the images' frames."""
        frames = slices.transpose(2, 1, 0)
        if not self.enhanced:
            return frames
        order = np.argsort([frame for _, frame in self.grid.planes])
        return frames[order]

    def place(self, index: int) -> tuple[Dataset, int | None]:
        """The image of a slice, and which of its frames the slice is, from 1; None in a file of one frame."""
        if self.enhanced:
            return self.first, self.grid.planes[index][1] + 1
        return self.images[index], None


def read_source_series(files: Sequence[str | Path]) -> SourceSeries:
    """Read what results need of a series.

    Args:
        files: of one series, in any order.

    Raises:
        DicomFileError: as `ckdmed.data.dicom_series.read_series_grid`; an image lacks one of the UIDs by which results
            refer to it; images are of different patients, studies or frames of reference, or stand twice.
    """
    grid = read_series_grid(files)
    # an enhanced file has a plane for each frame
    order = list(dict.fromkeys(number for number, _ in grid.planes))
    images = []
    for number in order:
        path = grid.headers[number].path
        image = open_dicom(path, pixels=False)
        image.pop("PixelData", None)
        for keyword in _NEEDED:
            if not str(image.get(keyword) or "").strip("\0 "):
                raise DicomFileError(f"{path}: has no {keyword}; a result cannot refer to it.")
        for keyword in _MAY_BE_EMPTY:
            if keyword not in image:
                setattr(image, keyword, "")
            elif keyword in _LEGAL:
                _empty_unless_legal(image, keyword)
            # decodes it
            image.get(keyword)
        image.SpecificCharacterSet = _CHARACTERS
        images.append(image)
    for keyword in _SHARED:
        if len(values := {str(image.get(keyword)) for image in images}) > 1:
            raise DicomFileError(
                f"{grid.headers[0].path.parent}: the {len(images)} files of one series have {len(values)} different "
                f"values of {keyword}; they are a mixture, from which no result is made."
            )
    twice = [uid for uid, count in Counter(str(image.SOPInstanceUID) for image in images).items() if count > 1]
    if twice:
        raise DicomFileError(
            f"{grid.headers[0].path.parent}: the SOP Instance UID {twice[0]} appears in several files."
        )
    series = SourceSeries(grid, tuple(images))
    for image in images:
        groups = image.get("PerFrameFunctionalGroupsSequence")
        place = _shared_measures(grid.headers[0].path, image, groups[0]) if groups else image
        # they may be missing, empty, 0 or count downwards; where the slices lie is what counts
        place.SpacingBetweenSlices = f"{series.spacing_mm[2]:.6g}"
        if not place.get("SliceThickness"):
            place.SliceThickness = place.SpacingBetweenSlices
    return series


def _shared_measures(path: Path, image: Dataset, first: Dataset) -> Dataset:
    """The measures of all frames of an enhanced file, which agree in them and in their orientation.

    Where each frame states them for itself they are put into the shared groups, where alone highdicom looks.
    """
    if not image.get("SharedFunctionalGroupsSequence"):
        image.SharedFunctionalGroupsSequence = [Dataset()]
    shared: Dataset = image.SharedFunctionalGroupsSequence[0]
    for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if first.get(keyword):
            shared[keyword] = first[keyword]
        elif not shared.get(keyword):
            raise DicomFileError(f"{path}: has no {keyword}; convert it to a classic series or to NIfTI.")
    measures: Dataset = shared.PixelMeasuresSequence[0]
    return measures


def _empty_unless_legal(image: Dataset, keyword: str) -> None:
    try:
        _LEGAL[keyword](str(image.get(keyword) or "").strip())
    except ValueError:
        setattr(image, keyword, "")
