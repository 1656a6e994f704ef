"""Untrusted NIfTI files: sizes are checked before anything is decoded, gzip checksums are read."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy

from ckdmed.data.nifti_affine import AffineError, header_affine
from ckdmed.limits import DEFLATE_RATIO, FileTooLargeError, check_decoded_size, max_decoded_bytes
from ckdmed.paths import PathLike

__all__ = ["VolumeFileError", "affine_mm", "is_placed", "nifti_values", "open_nifti", "read_nifti_header"]

_CLASSES = {348: nib.nifti1.Nifti1Image, 540: nib.nifti2.Nifti2Image}
# From the header's unit to millimetres. 0 is "unknown", which everybody takes for millimetres.
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_BLOCK = 1 << 20


class VolumeFileError(ValueError):
    """A volume (NIfTI file, folder of DICOM files) or case that cannot be used; the message names it, the cause and the
    values."""


def read_nifti_header(path: PathLike) -> nib.nifti1.Nifti1Image:
    """An image with shape, affine and header, without access to voxels. Header extensions are left out.

    Raises:
        VolumeFileError: no such file, empty, no NIfTI, a header that claims more voxels than the file can hold, or an
            affine that cannot be used or is contradicted by another (see `header_affine`).
        FileTooLargeError: the voxels would take more memory than is allowed, see `ckdmed.limits`.
    """
    return _image(Path(path), voxels=False)


def open_nifti(path: PathLike) -> nib.nifti1.Nifti1Image:
    """Read a NIfTI file to its end, so that the checksum of a compressed one is checked.

    Header extensions are left out. The suffix does not matter: what is compressed is told by the content.

    Raises:
        VolumeFileError: as `read_nifti_header`; also truncated or damaged.
        FileTooLargeError: as `read_nifti_header`.
    """
    return _image(Path(path), voxels=True)


def nifti_values(path: PathLike) -> tuple[nib.nifti1.Nifti1Image, np.ndarray]:
    """The image, and its scaled values as float32 in the file's own axes.

    Raises:
        VolumeFileError: as `open_nifti`; also colour or complex values.
        FileTooLargeError: as `open_nifti`.
    """
    image = open_nifti(path)
    dtype = image.get_data_dtype()
    if dtype.kind not in "biuf":
        raise VolumeFileError(f"{path}: holds {'colour' if dtype.names else dtype} values, not real numbers.")
    return image, image.get_fdata(dtype=np.float32, caching="unchanged")


def affine_mm(image: nib.nifti1.Nifti1Image) -> np.ndarray:
    """The (4, 4) affine from index to RAS millimetres, whatever the header's unit of length is."""
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _MILLIMETRES.get(int(image.header["xyzt_units"]) & 7, 1.0)
    return affine


def is_placed(image: nib.nifti1.Nifti1Image) -> bool:
    """Whether a file states its affine; where it does not, every program makes up another one."""
    return bool(image.header["sform_code"] or image.header["qform_code"])


def _image(path: Path, voxels: bool) -> nib.nifti1.Nifti1Image:
    if not path.is_file():
        raise VolumeFileError(f"{path}: no such file.")
    if path.stat().st_size == 0:
        raise VolumeFileError(f"{path}: the file is empty (0 bytes).")
    try:
        kind, header, end = _header(path)
        # of a quaternion that is none, too
        affine = header_affine(header)
    except (VolumeFileError, FileTooLargeError):
        raise
    except AffineError as error:
        raise VolumeFileError(f"{path}: {error}.") from error
    # gzip, zlib, struct and nibabel each raise their own for damaged files.
    except Exception as error:
        raise VolumeFileError(f"{path}: its NIfTI header cannot be read ({_cause(error)}).") from error
    content = _content(path, end) if voxels else b""
    image = kind(ArrayProxy(io.BytesIO(content), header.copy(), mmap=False), affine, header)
    return image


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _compressed(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _open(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if _compressed(path) else open(path, "rb")  # type: ignore[return-value]


def _header(path: Path) -> tuple[type[nib.nifti1.Nifti1Image], nib.nifti1.Nifti1Header, int]:
    """The kind of image, its header, and where its voxels end."""
    with _open(path) as stream:
        start = stream.read(540)
    sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")}  # type: ignore[arg-type]
    kind = next((image for size, image in _CLASSES.items() if size in sizes), None)
    if kind is None:
        raise VolumeFileError(f"{path}: its NIfTI header cannot be read: it is neither plain NIfTI nor gzip.")
    size = kind.header_class.template_dtype.itemsize
    # An image of its own header and voxels; ni1, ni2 and nothing stand for pairs of files and for Analyze.
    magic = start[344:348] if size == 348 else start[4:8]
    if len(start) >= size and magic[:3] not in (b"n+1", b"n+2"):
        raise VolumeFileError(f"{path}: its header has the magic {magic!r}, that of a pair of files; not a NIfTI file.")
    # The extensions are not needed, and each can claim any size: without the four bytes that announce them.
    header = kind.header_class.from_fileobj(io.BytesIO(start[:size]))
    shape, dtype = tuple(int(length) for length in header.get_data_shape()), header.get_data_dtype()
    offset = int(header.get_data_offset())
    if offset < size or any(length < 0 for length in shape):
        raise VolumeFileError(f"{path}: its header says shape {shape} and voxels from byte {offset} on; it is damaged.")
    count = int(np.prod(shape, dtype=object)) if shape else 0
    end = offset + count * dtype.itemsize
    file_size = path.stat().st_size
    holds = file_size * DEFLATE_RATIO if _compressed(path) else file_size
    if end > holds:
        raise VolumeFileError(
            f"{path}: truncated or damaged: shape {shape} of {dtype} takes {end} bytes, but the file of {file_size} "
            f"bytes holds at most {holds}."
        )
    check_decoded_size(path, offset + count * max(dtype.itemsize, 4), f"shape {shape} of {dtype} from byte {offset} on")
    return kind, header, end


def _content(path: Path, end: int) -> bytes:
    """The bytes up to where the voxels end, after the file was read on to its own end."""
    try:
        with _open(path) as stream:
            content = stream.read(end)
            rest, allowed = 0, max_decoded_bytes(path)
            while block := stream.read(_BLOCK):
                rest += len(block)
                if rest > allowed:
                    check_decoded_size(path, rest, f"what follows the voxels, {rest} bytes or more,")
    except FileTooLargeError:
        raise
    except Exception as error:
        raise VolumeFileError(f"{path}: truncated or damaged ({_cause(error)}).") from error
    if len(content) < end:
        raise VolumeFileError(f"{path}: truncated or damaged: it has {len(content)} of {end} bytes.")
    return content
