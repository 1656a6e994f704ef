"""Where the slices of a DICOM file lie: one of a classic file, the frames of an enhanced (multi-frame) one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, FileDataset

from ckdmed.data.dicom_file import DicomFileError, one_line, open_dicom
from ckdmed.data.dicom_pixels import check_pixel_length

__all__ = ["DicomHeader", "frame_groups", "read_dicom_header"]

# How far the directions of rows and columns may be from unit length and a right angle.
_DIRECTION_TOLERANCE = 0.01


@dataclass(frozen=True)
class DicomHeader:
    """Where a file's slices lie.

    Args:
        path: the file.
        person: Patient ID and Study Instance UID, each "" where the file has none.
        series: Series Instance UID, "" where the file has none.
        number: Series Number, "" where the file has none.
        size: columns, rows, frames.
        spacing: millimetres between columns and rows, and from slice to slice or, where that is not given, the slices'
            thickness.
        origins: centre of the first pixel of each frame, LPS millimetres.
        direction: (3, 3) LPS directions of columns, rows and their normal as columns of the matrix, row by row.
        between, thickness: the millimetres that the file states between slices (0018,0088) and of their thickness
            (0018,0050), 0 where it states none.
        instance: Instance Number, None where the file has none.
        uid: SOP Instance UID, "" where the file has none.
    """

    path: Path
    person: tuple[str, str]
    series: str
    number: str
    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origins: tuple[tuple[float, float, float], ...]
    direction: tuple[float, ...]
    between: float = 0.0
    thickness: float = 0.0
    instance: float | None = None
    uid: str = ""

    @property
    def matrix(self) -> np.ndarray:
        return np.array(self.direction).reshape(3, 3)

    @property
    def heights(self) -> np.ndarray:
        """Positions of the frames along their normal, millimetres."""
        return np.array(self.origins) @ self.matrix[:, 2]


def read_dicom_header(path: str | Path) -> DicomHeader:
    """Read what says where the image lies, without its pixels.

    Position, orientation and spacing of an enhanced file are those of its functional groups, each frame's own before
    the shared ones.

    Raises:
        DicomFileError: see `ckdmed.data.dicom_file.open_dicom`; there are more or fewer bytes of pixels than the image
            needs; a position, orientation, spacing or slice thickness is missing or impossible; frames differ in
            orientation or spacing.
    """
    path = Path(path)
    dataset = open_dicom(path, pixels=False)
    try:
        frames = check_pixel_length(path, dataset)
        return _header(path, dataset, frames)
    except DicomFileError:
        raise
    except RecursionError as error:
        raise DicomFileError(f"{path}: its sequences are nested too deeply to be read; the file is damaged.") from error
    # Values are converted when they are read, and each kind of damage raises its own.
    except Exception as error:
        raise DicomFileError(f"{path}: its header is damaged ({one_line(error)}).") from error


def _header(path: Path, dataset: FileDataset, frames: int) -> DicomHeader:
    origins, directions, spacings = [], [], []
    for number in range(frames):
        groups = frame_groups(path, dataset, number, frames)
        origins.append(_numbers(path, groups, "ImagePositionPatient", "PlanePositionSequence", 3))
        directions.append(_numbers(path, groups, "ImageOrientationPatient", "PlaneOrientationSequence", 6))
        rows, columns = _numbers(path, groups, "PixelSpacing", "PixelMeasuresSequence", 2)
        between = _value(groups, "SpacingBetweenSlices", "PixelMeasuresSequence")
        # some write 0 or a negative gap where there is one slice, or count downwards
        if between is None or not float(between) > 0:
            between = _value(groups, "SliceThickness", "PixelMeasuresSequence")
        if between is None:
            raise DicomFileError(
                f"{path}: has neither a spacing between slices (0018,0088) nor a slice thickness (0018,0050), and "
                "neither is guessed. Add one, or convert the series to NIfTI with the right spacing."
            )
        spacings.append((columns, rows, float(between)))
    for name, values in (("orientation", directions), ("spacing", spacings)):
        if not np.allclose(values, values[0], atol=0.01 if name == "orientation" else 1e-3):
            raise DicomFileError(
                f"{path}: its {frames} frames differ in {name}; save each stack of slices as its own series."
            )
    spacing = spacings[0]
    if not all(np.isfinite(side) and side > 0 for side in spacing):
        raise DicomFileError(f"{path}: its spacing is {spacing} mm; each value must be above 0.")
    across, down = np.array(directions[0][:3]), np.array(directions[0][3:])
    if max(abs(np.linalg.norm(across) - 1), abs(np.linalg.norm(down) - 1), abs(across @ down)) > _DIRECTION_TOLERANCE:
        raise DicomFileError(
            f"{path}: the orientation (0020,0037) is {tuple(directions[0])}; it must be two perpendicular "
            "directions of length 1."
        )
    # The rounded directions are made perpendicular in the way of ITK, so that the affine is the one that it gives.
    normal = np.cross(across, down)
    normal /= np.linalg.norm(normal)
    across = np.cross(down, normal)
    across /= np.linalg.norm(across)
    matrix = np.stack([across, np.cross(normal, across), normal], axis=1)
    return DicomHeader(
        path=path,
        person=(_plain(dataset, "PatientID"), _plain(dataset, "StudyInstanceUID")),
        series=_plain(dataset, "SeriesInstanceUID"),
        number=_plain(dataset, "SeriesNumber"),
        size=(int(dataset.Columns), int(dataset.Rows), frames),
        spacing=spacing,
        origins=tuple((x, y, z) for x, y, z in origins),
        direction=tuple(matrix.ravel().tolist()),
        # some count downwards
        between=abs(_stated(groups, "SpacingBetweenSlices") or 0),
        thickness=abs(_stated(groups, "SliceThickness") or 0),
        instance=_stated([dataset], "InstanceNumber"),
        uid=_plain(dataset, "SOPInstanceUID"),
    )


def _plain(dataset: FileDataset, keyword: str) -> str:
    """As text, "" where there is none."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip("\0 ")


def frame_groups(path: Path, dataset: FileDataset, number: int, frames: int) -> list[Dataset]:
    """Where to look for a frame's attributes; the first that has one counts.

    Raises:
        DicomFileError: several frames, and no group of values for each.
    """
    groups: Sequence[Dataset] = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared: Sequence[Dataset] = dataset.get("SharedFunctionalGroupsSequence") or []
    if frames > 1 and len(groups) != frames:
        raise DicomFileError(
            f"{path}: has {frames} frames but positions of {len(groups)} (per-frame functional groups, 5200,9230), "
            "and the positions of slices are not guessed. Convert it to a classic series or to NIfTI."
        )
    return [*groups[number : number + 1], *shared[:1], *([dataset] if frames == 1 else [])]


def _value(groups: Sequence[Dataset], keyword: str, sequence: str) -> Any:
    for group in groups:
        inside = group.get(sequence) or []
        for place in (*inside[:1], group):
            value = place.get(keyword)
            if value is not None and value != "":
                return value
    return None


def _stated(groups: Sequence[Dataset], keyword: str) -> float | None:
    """A number in a header that the image can do without; None where there is none, or none that can be read."""
    try:
        value = float(_value(groups, keyword, "PixelMeasuresSequence"))
    # values are converted when they are read, and each kind of damage raises its own
    except Exception:
        return None
    return value if np.isfinite(value) else None


def _numbers(path: Path, groups: Sequence[Dataset], keyword: str, sequence: str, count: int) -> list[float]:
    value = _value(groups, keyword, sequence)
    if value is None:
        raise DicomFileError(
            f"{path}: has no {keyword}, and the image's geometry is not guessed. Convert it to NIfTI with the right "
            "geometry."
        )
    numbers = [float(number) for number in value] if hasattr(value, "__iter__") else [float(str(value))]
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise DicomFileError(f"{path}: {keyword} is {numbers}; it must be {count} numbers.")
    return numbers
