"""The pixels of a DICOM file: as long as its header says, and decoded without trusting it.

Native, RLE and deflated pixels, and JPEG and JPEG 2000 as far as Pillow has them, are decoded by pydicom. What is left
(lossless and 12-bit JPEG, JPEG-LS) is decoded by GDCM, which is given a new file of the pixels and their description
alone: it recurses over a file's sequences in C++, and an untrusted one could end the process. What C libraries decode,
they decode in another process (`ckdmed.data.pixel_decoder`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array
from pydicom.pixels.utils import get_expected_length, get_nr_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from ckdmed.counted import counted
from ckdmed.data.dicom_file import DicomFileError, one_line
from ckdmed.data.pixel_decoder import decode_frames
from ckdmed.limits import FileTooLargeError, check_decoded_size

__all__ = ["check_pixel_length", "read_frames", "rescaled"]

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_LUMA = np.array([0.299, 0.587, 0.114])
_READABLE = {
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    RLELossless,
    *JPEGTransferSyntaxes,
    *JPEGLSTransferSyntaxes,
    *JPEG2000TransferSyntaxes,
}


def check_pixel_length(path: Path, dataset: FileDataset) -> int:
    """Compare what a header claims of its pixels with what there is.

    Returns:
        the number of frames.

    Raises:
        DicomFileError: no pixels, stored in a way that is not read, cut off, fewer bytes than rows, columns, frames,
            samples and bits need, at least one row more than that, or more than `ckdmed.limits` allows.
    """
    key = next((name for name in _PIXELS if name in dataset), None)
    if key is None:
        raise DicomFileError(f"{path}: truncated, or not a DICOM image: it has no pixels.")
    syntax = transfer_syntax(dataset)
    if syntax not in _READABLE:
        name = f"{syntax.name} (transfer syntax {syntax})" if syntax.name != syntax else f"transfer syntax {syntax}"
        raise DicomFileError(
            f"{path}: its pixels are stored as {name}, which is not supported; export the series without compression "
            "(Explicit VR Little Endian), or convert it to NIfTI."
        )
    frames = get_nr_frames(dataset, warn=False)
    values = get_expected_length(dataset, unit="pixels")
    claim = (
        f"{dataset.Rows} rows x {dataset.Columns} columns x {counted(frames, 'frame')} of "
        f"{counted(dataset.SamplesPerPixel, 'sample')} of "
        f"{dataset.BitsAllocated} bits"
    )
    if values < 1:
        raise DicomFileError(f"{path}: its header claims {claim}.")
    try:
        check_decoded_size(path, values * 4, claim)
    except FileTooLargeError as error:
        raise DicomFileError(str(error)) from error
    item: Any = dataset.get_item(key, keep_deferred=True)
    value = item.value
    if value is None:  # left in the file
        there = min(item.length, path.stat().st_size - item.value_tell)
        if item.length != 0xFFFFFFFF and there < item.length:
            raise DicomFileError(f"{path}: truncated: it has {there} of {item.length} bytes of pixels.")
    else:
        there = len(value)
    if not syntax.is_encapsulated:
        needed = get_expected_length(dataset)
        row = max(1, needed // (int(dataset.Rows) * frames))
        if there < needed or there - needed >= max(row, 2):
            raise DicomFileError(
                f"{path}: truncated or damaged: it has {there} bytes of pixels, but the header's {claim} need {needed}."
            )
    return frames


def transfer_syntax(dataset: FileDataset) -> UID:
    """How a file's pixels are stored; by its own encoding where it does not say so."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = UID(
            "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"
        )
    return UID(dataset.file_meta.TransferSyntaxUID)


def read_frames(path: Path, dataset: FileDataset) -> Iterator[np.ndarray]:
    """The frames in the order of the file, (rows, columns), before any rescaling; grey, by ITU-R 601 luma of colours.

    Larger is brighter: MONOCHROME1, whose smallest value is white, is turned over within the range of its stored bits.

    Raises:
        DicomFileError: see `check_pixel_length`; the pixels cannot be decoded, or are of another size than the header
            says.
    """
    frames = check_pixel_length(path, dataset)
    try:
        for frame in _decoded(path, dataset, frames):
            if dataset.PhotometricInterpretation == "PALETTE COLOR":
                frame = apply_color_lut(frame, dataset)
            elif dataset.PhotometricInterpretation == "MONOCHROME1":
                frame = _brightest(dataset) - frame.astype(np.float64 if frame.dtype.kind == "f" else np.int64)
            yield frame[..., :3] @ _LUMA if frame.ndim == 3 else frame
    except DicomFileError:
        raise
    except Exception as error:
        raise DicomFileError(f"{path}: the pixels cannot be read ({one_line(error)}).") from error


def _brightest(dataset: FileDataset) -> int:
    """What the smallest stored value becomes where it means white; 0 of values that are no whole numbers."""
    if "PixelData" not in dataset:
        return 0
    return -1 if dataset.PixelRepresentation else (1 << int(dataset.BitsStored)) - 1


def _decoded(path: Path, dataset: FileDataset, frames: int) -> Iterator[np.ndarray]:
    syntax = transfer_syntax(dataset)
    if not syntax.is_encapsulated or syntax == RLELossless:
        yield from _at_once(dataset, frames)
        return
    sizes = [_coded_size(code) for code in generate_frames(dataset.PixelData, number_of_frames=frames)]
    wrong = {size for size in sizes if size is not None} - {(int(dataset.Columns), int(dataset.Rows))}
    if wrong:
        raise DicomFileError(
            f"{path}: the header says {dataset.Columns} x {dataset.Rows} pixels, but a compressed frame has "
            f"{' x '.join(map(str, wrong.pop()))}; the file is damaged."
        )
    gdcm = not _pydicom_decodes(dataset, syntax)
    yield from decode_frames(dataset, syntax, gdcm, frames, get_expected_length(dataset))


def _at_once(dataset: FileDataset, frames: int) -> Iterator[np.ndarray]:
    array = pixel_array(dataset)
    yield from array if frames > 1 else array[np.newaxis]


def _pydicom_decodes(dataset: FileDataset, syntax: UID) -> bool:
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        return False
    # Pillow knows JPEG of 8 bits
    return available and (syntax in JPEG2000TransferSyntaxes or dataset.BitsStored <= 8)


def _coded_size(code: bytes) -> tuple[int, int] | None:
    """Columns and rows that a JPEG, JPEG-LS or JPEG 2000 stream says it has, None if it does not say."""
    start = code.find(b"\xff\x4f\xff\x51")
    if start >= 0 and not code.startswith(b"\xff\xd8"):
        x, y, left, top = (int.from_bytes(code[start + 8 + 4 * k : start + 12 + 4 * k], "big") for k in range(4))
        return x - left, y - top
    at = 2
    while at + 9 <= len(code) and code[at] == 0xFF:
        marker = code[at + 1]
        if marker == 0xF7 or 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(code[at + 7 : at + 9], "big"), int.from_bytes(code[at + 5 : at + 7], "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(code[at + 2 : at + 4], "big")
    return None


def rescaled(frame: np.ndarray, places: list[Dataset]) -> np.ndarray:
    """Values after the first rescale slope and intercept, or modality table, that is found.

    Args:
        frame: as stored.
        places: see `ckdmed.data.dicom_header.frame_groups`.
    """
    for place in places:
        for group in (*(place.get("PixelValueTransformationSequence") or [])[:1], place):
            # an empty one is None, and says nothing
            slope, intercept = group.get("RescaleSlope"), group.get("RescaleIntercept")
            if slope is not None and intercept is None:
                # pydicom rescales by both or not at all
                return frame * float(slope)
            if slope is not None or "ModalityLUTSequence" in group:
                return apply_modality_lut(frame, group)
    return frame
