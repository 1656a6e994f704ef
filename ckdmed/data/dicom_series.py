"""DICOM images through SimpleITK: which files make a series, and a series as a volume with its affine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import SimpleITK as sitk

__all__ = ["DicomFileError", "DicomHeader", "dicom_stacks", "group_series", "read_dicom_header", "read_dicom_volume"]

# How far the gap between neighbouring slices may differ from the series' mean gap, as a share of it. Positions are
# stored as rounded decimals; a missing slice doubles a gap.
GAP_TOLERANCE = 0.1


class DicomFileError(ValueError):
    """A DICOM file or series that cannot be used; the message names it and the cause."""


@dataclass(frozen=True)
class DicomHeader:
    """Where a file's image lies.

    Args:
        path: the file.
        series: Series Instance UID, "" where the file has none.
        number: Series Number, "" where the file has none.
        size: columns, rows, frames.
        spacing, origin: millimetres.
        direction: (3, 3) LPS directions of columns, rows and frames as columns of the matrix.
    """

    path: Path
    series: str
    number: str
    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    @property
    def matrix(self) -> np.ndarray:
        return np.array(self.direction).reshape(3, 3)

    @property
    def height(self) -> float:
        """Position along the normal of the slices."""
        return float(np.dot(self.origin, self.matrix[:, 2]))


def _reader(path: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    # Fixed, so that another format under the name of a DICOM file is an error and not a surprise.
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return reader


def _cause(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1].split("): ", 1)[-1].split("ITK ERROR: ", 1)[-1]


def read_dicom_header(path: str | Path) -> DicomHeader:
    """Read what says where the image lies, without its pixels.

    Raises:
        DicomFileError: no such file, empty, not DICOM, truncated, or without an image.
    """
    path = Path(path)
    if not path.is_file():
        raise DicomFileError(f"{path}: no such file.")
    if path.stat().st_size == 0:
        raise DicomFileError(f"{path}: the file is empty (0 bytes).")
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise DicomFileError(f"{path}: truncated, or no DICOM image ({_cause(error)}).") from error
    if reader.GetDimension() != 3:
        raise DicomFileError(f"{path}: an image of {reader.GetDimension()} dimensions; 3 can be used.")
    return DicomHeader(
        path=path,
        series=_tag(reader, "0020|000e"),
        number=_tag(reader, "0020|0011"),
        size=tuple(reader.GetSize()),
        spacing=tuple(reader.GetSpacing()),
        origin=tuple(reader.GetOrigin()),
        direction=tuple(reader.GetDirection()),
    )


def _tag(reader: sitk.ImageFileReader, tag: str) -> str:
    return reader.GetMetaData(tag).strip("\0 ") if reader.HasMetaDataKey(tag) else ""


def group_series(headers: Iterable[DicomHeader]) -> list[list[DicomHeader]]:
    """Files that make one volume each: of the same series, size and orientation, ordered along their normal.

    A file without a series, or with several frames, stands by itself.
    """
    groups: dict[tuple, list[DicomHeader]] = defaultdict(list)
    for header in headers:
        alone = str(header.path) if not header.series or header.size[2] > 1 else ""
        # localisers keep three orientations in one series
        for number in count():
            group = groups[header.series, alone, header.size, number]
            if not group or np.allclose(group[0].direction, header.direction, atol=0.01):
                group.append(header)
                break
    return [sorted(group, key=lambda header: (header.height, str(header.path))) for group in groups.values()]


def dicom_stacks(paths: Sequence[Path]) -> tuple[list[tuple[tuple[Path, ...], str]], list[tuple[Path, str]]]:
    """DICOM files sorted into volumes.

    Returns:
        (files in order, series number) of each volume, and (file, cause) of each that cannot be read.
    """
    headers, unreadable = [], []
    for path in paths:
        try:
            headers.append(read_dicom_header(path))
        except DicomFileError as error:
            unreadable.append((path, str(error)))
    return [(tuple(h.path for h in group), group[0].number) for group in group_series(headers)], unreadable


def read_dicom_volume(paths: Sequence[str | Path]) -> tuple[np.ndarray, np.ndarray]:
    """Read one file, or the files of one series in any order.

    Values are those after the rescale slope and intercept. Colour becomes grey, by ITU-R 601 luma.

    Returns:
        array (columns, rows, slices), float32, and its (4, 4) affine to RAS millimetres: the layout of NIfTI.

    Raises:
        DicomFileError: as `read_dicom_header`; the files differ in size or orientation, two lie at one position
            (several echoes or times in a series), or they are not evenly spaced (a file is missing).
    """
    headers = [read_dicom_header(path) for path in paths]
    if not headers:
        raise DicomFileError("a DICOM series needs at least one file, got none.")
    groups = group_series(headers) if len(headers) > 1 else [headers]
    if len(groups) > 1:
        raise DicomFileError(f"{headers[0].path.parent}: the files are of {len(groups)} series, sizes or orientations.")
    ordered = groups[0]
    step = _step(ordered)
    first = ordered[0]
    volume = np.empty((first.size[0], first.size[1], first.size[2] * len(ordered)), dtype=np.float32)
    for number, header in enumerate(ordered):
        pixels = _pixels(header)
        volume[..., number * first.size[2] : (number + 1) * first.size[2]] = pixels
    lps = np.eye(4)
    lps[:3, :2] = first.matrix[:, :2] * first.spacing[:2]
    lps[:3, 2] = step
    lps[:3, 3] = first.origin
    return volume, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def _step(ordered: Sequence[DicomHeader]) -> np.ndarray:
    """The vector from one slice to the next; in a tilted series it is not along the normal."""
    first = ordered[0]
    if len(ordered) == 1:
        return first.matrix[:, 2] * first.spacing[2]
    gaps = np.diff([header.height for header in ordered])
    folder = first.path.parent
    if gaps.min() <= 1e-3:
        raise DicomFileError(
            f"{folder}: {np.count_nonzero(gaps <= 1e-3) + 1} or more of {len(ordered)} files of one series lie at one "
            "position (several echoes or times); put each volume into a folder of its own, with its own series."
        )
    if np.abs(gaps - gaps.mean()).max() > GAP_TOLERANCE * gaps.mean():
        after = ordered[int(gaps.argmax())].path.name
        raise DicomFileError(
            f"{folder}: the {len(ordered)} slices are not evenly spaced ({gaps.min():.3f} to {gaps.max():.3f} mm); "
            f"a file is missing or unreadable, the largest gap follows {after}."
        )
    return (np.array(ordered[-1].origin) - np.array(first.origin)) / (len(ordered) - 1)


def _pixels(header: DicomHeader) -> np.ndarray:
    try:
        image = _reader(header.path).Execute()
    except RuntimeError as error:
        raise DicomFileError(f"{header.path}: the pixels cannot be read ({_cause(error)}).") from error
    pixels = sitk.GetArrayFromImage(image)
    if pixels.ndim == 4:
        pixels = pixels[..., :3] @ np.array([0.299, 0.587, 0.114]) if pixels.shape[-1] >= 3 else pixels[..., 0]
    return pixels.transpose(2, 1, 0)
