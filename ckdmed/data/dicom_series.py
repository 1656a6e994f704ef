"""DICOM images: which files make a series, and a series as a volume with its affine."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path

import numpy as np

from ckdmed.data.dicom_file import DicomFileError, dicom_images, open_dicom
from ckdmed.data.dicom_header import DicomHeader, frame_groups, read_dicom_header
from ckdmed.data.dicom_pixels import read_frames, rescaled

__all__ = [
    "DicomFileError",
    "DicomHeader",
    "SeriesGrid",
    "SliceGapWarning",
    "dicom_stacks",
    "group_series",
    "read_dicom_header",
    "read_dicom_volume",
    "read_series_grid",
]

# How far the gap between neighbouring slices may differ from the series' mean gap, as a share of it. Positions are
# stored as rounded decimals; a missing slice doubles a gap.
GAP_TOLERANCE = 0.1
# How many times as far apart as their headers say slices lie where every other one may be missing; of a rounded decimal
# the factor is 2.
_GAP_FACTOR = 1.5
# How far a slice may lie beside the line from the first to the last one, in voxels of any axis.
_OFF_TOLERANCE = 0.5


class SliceGapWarning(UserWarning):
    """Slices lie evenly, but so much further apart than their headers say that every other one may be missing."""


def group_series(headers: Iterable[DicomHeader]) -> list[list[DicomHeader]]:
    """Files that make one volume each: of one patient, series, size, pixel spacing and orientation, in their order.

    A file without a series, or with several frames, stands by itself.
    """
    headers = list(headers)
    studies: dict[tuple[str, str], list[str]] = defaultdict(list)
    for header in headers:
        patient, study = header.person
        studies[patient, header.series].append(study)
    groups: dict[tuple, list[DicomHeader]] = defaultdict(list)
    for header in headers:
        patient, study = header.person
        named = studies[patient, header.series]
        # some writers give each file a study of its own, which tells nothing then
        study = "" if 2 < len(named) == len(set(named)) else study
        alone = str(header.path) if not header.series or header.size[2] > 1 else ""
        # localisers keep three orientations in one series
        for number in count():
            # some anonymisers give all patients the same UIDs
            group = groups[patient, study, header.series, alone, header.size, number]
            if not group or _same_plane(group[0], header):
                group.append(header)
                break
    return [sorted(group, key=lambda header: (header.heights[0], str(header.path))) for group in groups.values()]


def _same_plane(first: DicomHeader, other: DicomHeader) -> bool:
    return np.allclose(first.direction, other.direction, atol=0.01) and np.allclose(
        first.spacing[:2], other.spacing[:2], atol=1e-3
    )


def dicom_stacks(paths: Sequence[Path]) -> tuple[list[tuple[tuple[Path, ...], str]], list[tuple[Path, str]]]:
    """DICOM files sorted into volumes.

    Returns:
        (files in order, series number) of each volume, and (file, cause) of each that cannot be read.
    """
    headers = []
    images, unreadable = dicom_images(paths)
    for path in images:
        try:
            headers.append(read_dicom_header(path))
        except DicomFileError as error:
            unreadable.append((path, str(error)))
    return [(tuple(h.path for h in group), group[0].number) for group in group_series(headers)], unreadable


@dataclass(frozen=True)
class SeriesGrid:
    """Where each slice of a series lies: the grid of `read_dicom_volume`, known without the pixels.

    Args:
        headers: of the files.
        planes: (number of the file in `headers`, frame in it) of each slice, along the slices' normal.
        shape: columns, rows, slices.
        affine: (4, 4) from array index to RAS millimetres.
    """

    headers: tuple[DicomHeader, ...]
    planes: tuple[tuple[int, int], ...]
    shape: tuple[int, int, int]
    affine: np.ndarray


def read_series_grid(paths: Sequence[str | Path]) -> SeriesGrid:
    """Order the slices of one file, or of the files of one series in any order, by where they lie.

    Raises:
        DicomFileError: as `read_dicom_volume`, what only the pixels would show aside.

    Warns:
        SliceGapWarning: the slices lie evenly, but at least 1.5 times as far apart as their headers state. Thick gaps
            exist: a thickness alone tells nothing where the instance numbers leave none out.
    """
    headers = [read_dicom_header(path) for path in paths]
    if not headers:
        raise DicomFileError("a DICOM series needs at least one file, got none.")
    groups = group_series(headers) if len(headers) > 1 else [headers]
    if len(groups) > 1:
        raise DicomFileError(
            f"{headers[0].path.parent}: the files form {len(groups)} groups that differ in patient, series, size, "
            "pixel spacing or orientation; put each volume into a folder of its own."
        )
    headers = groups[0]
    first = headers[0]
    # (position along the normal, file, frame) of each slice
    planes = sorted(
        (float(height), number, frame)
        for number, header in enumerate(headers)
        for frame, height in enumerate(header.heights)
    )
    origins = [headers[number].origins[frame] for _, number, frame in planes]
    names = [
        header.path.name if header.size[2] == 1 else f"frame {frame + 1} of {header.path.name}"
        for header, frame in ((headers[number], frame) for _, number, frame in planes)
    ]
    _refuse_copies(headers)
    step = _step(first, np.array([height for height, _, _ in planes]), origins, names)
    if doubt := _gap_doubt([headers[number] for _, number, _ in planes], planes[-1][0] - planes[0][0]):
        warnings.warn(doubt, SliceGapWarning, stacklevel=2)
    lps = np.eye(4)
    lps[:3, :2] = first.matrix[:, :2] * first.spacing[:2]
    lps[:3, 2] = step
    lps[:3, 3] = origins[0]
    return SeriesGrid(
        headers=tuple(headers),
        planes=tuple((number, frame) for _, number, frame in planes),
        shape=(first.size[0], first.size[1], len(planes)),
        affine=np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps,
    )


def read_dicom_volume(paths: Sequence[str | Path]) -> tuple[np.ndarray, np.ndarray]:
    """Read one file, or the files of one series in any order; the frames of an enhanced file are its slices.

    Values are those after the rescale slope and intercept, larger ones brighter (MONOCHROME1 is turned over). Colour
    becomes grey, by ITU-R 601 luma.

    Returns:
        array (columns, rows, slices), float32, and its (4, 4) affine to RAS millimetres: the layout of NIfTI.

    Raises:
        DicomFileError: as `read_dicom_header`; the files differ in size, pixel spacing or orientation, two lie at one
            position (several echoes or times in a series), they are not evenly spaced (a slice is missing), or one is
            moved in its plane.
    """
    grid = read_series_grid(paths)
    volume = np.empty(grid.shape, dtype=np.float32)
    place = {plane: index for index, plane in enumerate(grid.planes)}
    for number, header in enumerate(grid.headers):
        for frame, pixels in enumerate(_frames(header)):
            volume[..., place[number, frame]] = pixels.T
    return volume, grid.affine


def _refuse_copies(headers: Sequence[DicomHeader]) -> None:
    """Of one image, by its UID and its place: some write one UID into all files."""
    seen: dict[tuple[object, ...], DicomHeader] = {}
    for header in headers:
        other = seen.setdefault((header.uid, header.origins), header)
        if header.uid and other is not header:
            copies = len(headers) - len({(one.uid, one.origins) for one in headers})
            raise DicomFileError(
                f"{header.path.parent}: {copies} of the {len(headers)} files are copies of others, such as "
                f"{header.path.name} of {other.path.name} (SOP Instance UID {header.uid}); keep each image only once."
            )


def _step(
    first: DicomHeader, heights: np.ndarray, origins: Sequence[Sequence[float]], names: Sequence[str]
) -> np.ndarray:
    """The vector from one slice to the next; in a tilted series it is not along the normal."""
    if len(heights) == 1:
        return first.matrix[:, 2] * first.spacing[2]
    gaps = np.diff(heights)
    single = first.size[2] > 1
    where = first.path if single else first.path.parent
    if gaps.min() <= 1e-3:
        what = "frames" if single else "files of one series"
        raise DicomFileError(
            f"{where}: {np.count_nonzero(gaps <= 1e-3) + 1} or more of {len(heights)} {what} share one position "
            "(several echoes or times); put each volume into a folder of its own, with its own series."
        )
    if np.abs(gaps - gaps.mean()).max() > GAP_TOLERANCE * gaps.mean():
        raise DicomFileError(
            f"{where}: the {len(heights)} slices are not evenly spaced ({gaps.min():.3f} to {gaps.max():.3f} mm); "
            f"a slice is missing or unreadable, the largest gap follows {names[int(gaps.argmax())]}."
        )
    places = np.array(origins)
    step: np.ndarray = (places[-1] - places[0]) / (len(heights) - 1)
    voxel = np.stack([first.matrix[:, 0] * first.spacing[0], first.matrix[:, 1] * first.spacing[1], step], axis=1)
    # of each slice from where a straight stack has it, in voxels: the affine knows nothing of a slice that is moved
    off = np.abs((places - places[0] - np.outer(np.arange(len(places)), step)) @ np.linalg.inv(voxel).T).max(axis=1)
    if off.max() > _OFF_TOLERANCE:
        raise DicomFileError(
            f"{where}: the {len(heights)} slices do not form one straight stack: {names[int(off.argmax())]} lies "
            f"{off.max():.1f} voxels off the line of the others. Put each stack into a folder of its own, with its "
            "own series, or convert the series to NIfTI."
        )
    return step


def _gap_doubt(slices: Sequence[DicomHeader], length: float) -> str:
    """What speaks for slices that are missing from an even stack, "" for nothing.

    Args:
        slices: the header of each slice's file, in the order of the slices.
        length: from the first to the last, along their normal.
    """
    first = slices[0]
    stated = first.between or first.thickness
    if len(slices) == 1 or not stated:
        return ""
    gap = length / (len(slices) - 1)
    # some state the empty space between slices, not the distance of their centres
    only_space = 0 < first.between < first.thickness and (
        abs(first.between + first.thickness - gap) < GAP_TOLERANCE * gap
    )
    if gap < _GAP_FACTOR * stated or only_space:
        return ""
    numbers = [header.instance for header in slices]
    steps = {abs(b - a) for a, b in pairwise(numbers) if a is not None and b is not None}
    single = first.size[2] > 1
    if not first.between and (single or steps == {1}):
        return ""
    what = "between slices (0018,0088)" if first.between else "of slice thickness (0018,0050)"
    also = f", and their instance numbers go in steps of {max(steps):g}" if len(steps) == 1 and steps != {1} else ""
    return (
        f"{first.path if single else first.path.parent}: the {len(slices)} slices of series {first.number or '?'} lie "
        f"{gap:.3f} mm apart, but their headers state {stated:.3f} mm {what}{also}; slices between them may be "
        "missing. They are read with the spacing of their positions; if the series has more slices, fetch it again."
    )


def _frames(header: DicomHeader) -> Iterable[np.ndarray]:
    """Rescaled frames (rows, columns) of a file, as many as its header has."""
    dataset = open_dicom(header.path)
    number = 0
    for number, pixels in enumerate(read_frames(header.path, dataset), start=1):
        if number > header.size[2] or pixels.shape != (header.size[1], header.size[0]):
            break
        yield rescaled(pixels, frame_groups(header.path, dataset, number - 1, header.size[2]))
    else:
        if number == header.size[2]:
            return
    raise DicomFileError(
        f"{header.path}: the pixels are not the {header.size[2]} frames of {header.size[1]} x {header.size[0]} that "
        "its header states; the file is damaged."
    )
