"""Untrusted DICOM files: which hold an image, and opening one without trusting its header.

Files are parsed by pydicom, whose recursion over nested sequences ends in a `RecursionError`, an ordinary error here.
GDCM recurses in C++, where the same file ends the process; it never sees an untrusted header (see
`ckdmed.data.dicom_pixels`). A child process for each file would cost a second per slice of a series.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from pydicom import FileDataset, dcmread
from pydicom.filereader import read_dataset, read_file_meta_info, read_preamble
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from ckdmed.limits import FileTooLargeError, check_decoded_size

__all__ = ["DicomFileError", "dicom_images", "one_line", "open_dicom"]

_DICOMDIR = "1.2.840.10008.1.3.10"
# Storage classes by the beginning of their UID below 1.2.840.10008.5.1.4.1.1, and what such a file holds.
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_NO_INTENSITIES = {
    "481.": "radiotherapy data (a dose, structures or a plan)",
    "66.": "a segmentation, registration or other derived object",
    "66": "raw data",
    "4.2": "spectroscopy",
    "4.3": "spectroscopy or colour-coded MR",
    "30": "a parametric map",
    "67": "real world value mapping",
    "68.": "surface scans",
    "88.": "a report (SR)",
    "11.": "a presentation state",
    "9.": "waveforms",
    "104.": "an encapsulated document",
    "77.1.5.4": "ophthalmic measurements",
    "78.": "ophthalmic measurements",
    "79.": "a report",
    "80.": "a lens or implant description",
    "90.": "a content assessment",
}
_CHUNK = 1 << 20


class DicomFileError(ValueError):
    """A DICOM file or series that cannot be used; the message names it and the cause."""


def no_image_cause(sop_class: str) -> str | None:
    """What a file of a SOP class holds if that is not an image of intensities, else None."""
    if sop_class == _DICOMDIR:
        return "a directory of files (DICOMDIR)"
    if not sop_class.startswith(_STORAGE):
        return None
    kind = sop_class.removeprefix(_STORAGE)
    for beginning, cause in _NO_INTENSITIES.items():
        if kind == beginning or (beginning.endswith(".") and kind.startswith(beginning)):
            return cause
    return None


def dicom_images(paths: Sequence[Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """DICOM files divided into those that may be images and those that declare to be something else.

    Only the file's name and its meta header are looked at. A damaged file may be an image.

    Returns:
        files in their order, and (file, cause) of each DICOMDIR, report, segmentation, dose and so on.
    """
    images, others = [], []
    for path in paths:
        cause = no_image_cause(_DICOMDIR if path.name.lower() == "dicomdir" else _media_class(path))
        if cause is None:
            images.append(path)
        else:
            others.append((path, f"{path}: holds {cause}, not an image of intensities."))
    return images, others


def _media_class(path: Path) -> str:
    try:
        return str(read_file_meta_info(path).get("MediaStorageSOPClassUID", ""))
    # pydicom lets through what struct, its value converters and the recursion raise; opening the file tells the cause.
    except Exception:
        return ""


def open_dicom(path: str | Path, pixels: bool = True) -> FileDataset:
    """Parse a file.

    Args:
        path: the file.
        pixels: whether to read long values, such as the pixels, at once.

    Raises:
        DicomFileError: no such file, empty, not DICOM, damaged, sequences nested without end, larger than
            `ckdmed.limits` allows, without an image, or an image of something else than intensities: segmentations,
            doses, maps, and mosaics of slices.
    """
    path = Path(path)
    if not path.is_file():
        raise DicomFileError(f"{path}: no such file.")
    if path.stat().st_size == 0:
        raise DicomFileError(f"{path}: the file is empty (0 bytes).")
    try:
        deflated = _check_inflated_size(path)
        # What is left out is read from the file's own bytes when it is needed, which deflated files do not have.
        dataset = dcmread(path, defer_size=None if pixels or deflated else _CHUNK >> 4)
        sop_class = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", ""))
        image_type = dataset.get("ImageType") or ()
        shape = [dataset.get(key) for key in ("Rows", "Columns")]
    except FileTooLargeError as error:
        raise DicomFileError(str(error)) from error
    except RecursionError as error:
        raise DicomFileError(f"{path}: its sequences are nested too deeply to be read; the file is damaged.") from error
    # pydicom lets through what struct, zlib and its value converters raise.
    except Exception as error:
        raise DicomFileError(f"{path}: truncated, or not a DICOM image ({one_line(error)}).") from error
    if cause := no_image_cause(sop_class):
        raise DicomFileError(f"{path}: holds {cause}, not an image of intensities.")
    if "MOSAIC" in ([image_type] if isinstance(image_type, str) else [str(part).upper() for part in image_type]):
        raise DicomFileError(
            f"{path}: a mosaic (all slices of a volume side by side in one image); convert the series to NIfTI or "
            "enhanced MR first."
        )
    if not all(isinstance(side, int) and side > 0 for side in shape):
        kind = f" ({UID(sop_class).name})" if sop_class else ""
        raise DicomFileError(f"{path}: truncated, or not a DICOM image{kind}: rows and columns are {shape}.")
    return dataset


def one_line(error: Exception) -> str:
    """An exception's message, shortened to one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _check_inflated_size(path: Path) -> bool:
    """Whether a file's dataset is deflated; if so, its size is counted piece by piece and only as far as is allowed."""
    with open(path, "rb") as stream:
        read_preamble(stream, False)
        meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return False
        size = 0
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        piece = stream.read(_CHUNK)
        while piece and not inflate.eof:
            size += len(inflate.decompress(piece, _CHUNK))
            check_decoded_size(path, size, "its decompressed content")
            piece = inflate.unconsumed_tail or stream.read(_CHUNK)
    return True
