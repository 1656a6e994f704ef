"""Careful reading of MATLAB v7.3 (HDF5) files: nothing outside the file is touched and nothing in it is executed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from ckdmed.limits import DEFLATE_RATIO, FileTooLargeError, check_decoded_size

MAX_ELEMENTS = 64 * 1024 * 1024
# A compressed chunk of this size unpacks to 66 MB at most.
_ALWAYS_HARMLESS = 64 * 1024
# A filter before the compression may append one.
_CHECKSUM = 4
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class FigshareFileError(ValueError):
    """A file of the Figshare set that cannot be used; the message names the file and the cause."""


def file_error(path: str | Path, cause: str) -> FigshareFileError:
    """Build the one kind of error of this package's `.mat` reading.

    The exception takes a single message because a DataLoader worker rebuilds it from its text alone.
    """
    return FigshareFileError(f"{path}: {cause}")


def _refuse_other_formats(path: Path) -> None:
    if not path.exists():
        raise file_error(path, "no such file.")
    if not path.is_file():
        raise file_error(path, "not a file.")
    try:
        size = path.stat().st_size
        with open(path, "rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise file_error(path, f"cannot be opened ({error.strerror}).") from error
    if size == 0:
        raise file_error(path, "the file is empty (0 bytes).")
    if head.startswith(b"MATLAB 5.0"):
        raise file_error(path, "a MATLAB v5 file; re-save it in MATLAB with save(..., '-v7.3').")
    # MATLAB puts a user block of 512 bytes before the HDF5 data; HDF5 allows 0 and powers of two from 512 on.
    if not any(head[offset : offset + 8] == _HDF5_SIGNATURE for offset in (0, 512, 1024, 2048)):
        if head.startswith(b"MATLAB 7.3"):
            raise file_error(path, f"truncated: {size} bytes, with no HDF5 data after the MATLAB header.")
        raise file_error(path, "not a MATLAB v7.3 file (no HDF5 signature).")


@contextmanager
def open_mat(path: str | Path) -> Iterator[h5py.File]:
    """Open a MATLAB v7.3 file for reading.

    Args:
        path: the file.

    Raises:
        FigshareFileError: the path is no file, the file is empty, MATLAB v5, not HDF5, truncated or damaged; also for
            any error of the HDF5 library inside the `with` block, so that damage found late is named as well.
    """
    path = Path(path)
    _refuse_other_formats(path)
    try:
        # No locking: data folders are often read-only or on network shares.
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (FigshareFileError, FileTooLargeError):
        raise
    except MemoryError as error:
        raise file_error(path, "damaged: it asks for more memory than is available.") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, UnicodeError) as error:
        kind = "truncated" if "truncated" in str(error) else "damaged"
        raise file_error(path, f"{kind} HDF5 data ({error}).") from error


def _object_in_file(path: str | Path, group: h5py.Group, key: str) -> h5py.Group | h5py.Dataset | None:
    link = group.get(key, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise file_error(path, f"'{key}' is a {type(link).__name__}; links are not followed.")
    return group[key]


def subgroup(path: str | Path, group: h5py.Group, key: str) -> h5py.Group | None:
    """The group `key` inside `group`, or None where there is none.

    Raises:
        FigshareFileError: `key` is a soft or external link, or no group.
    """
    item = _object_in_file(path, group, key)
    if item is None or isinstance(item, h5py.Group):
        return item
    raise file_error(path, f"'{key}' is not a struct (an HDF5 group).")


def numeric_array(path: str | Path, group: h5py.Group, key: str, max_elements: int = MAX_ELEMENTS) -> np.ndarray | None:
    """The array `key` of `group` in MATLAB's orientation (upright for images), or None where the key is absent.

    HDF5 shows MATLAB arrays transposed, so this transposes back. An empty MATLAB array gives an array of size 0.

    Raises:
        FigshareFileError: `key` is a link, a group, no array of real numbers, kept in another file (external storage,
            virtual dataset), of more than `max_elements`, or larger than
            what is stored of it can hold.
        FileTooLargeError: it would take more memory than is allowed, see `ckdmed.limits`.
    """
    item = _object_in_file(path, group, key)
    if item is None:
        return None
    if not isinstance(item, h5py.Dataset):
        raise file_error(path, f"'{key}' is not an array.")
    if item.external or item.is_virtual:
        raise file_error(path, f"the values of '{key}' are stored in another file; such files are not read.")
    if item.dtype.kind not in "biuf":
        raise file_error(path, f"'{key}' holds {item.dtype}, not real numbers.")
    # MATLAB stores an empty array as its dimensions, with this attribute set.
    if item.shape is None or item.attrs.get("MATLAB_empty", 0):
        return np.empty((0, 0), dtype=item.dtype)
    if item.size > max_elements:
        raise file_error(path, f"'{key}' has shape {item.shape}, more than {max_elements} elements.")
    _check_storage(path, key, item)
    return np.ascontiguousarray(item[()].T)


def stored_as_number(path: str | Path, group: h5py.Group, key: str) -> bool:
    """Whether `key` is there and holds numbers and not text, as far as the file says.

    MATLAB writes the class of each array beside it, and text as uint16 codes. Where the class is absent, one number of
    another type is a number and several are codes.
    """
    item = _object_in_file(path, group, key)
    if not isinstance(item, h5py.Dataset):
        return False
    written = item.attrs.get("MATLAB_class")
    if written is None:
        return bool(item.size == 1 and item.dtype != np.uint16)
    return bool(written not in (b"char", "char"))


def _check_storage(path: str | Path, key: str, item: h5py.Dataset) -> None:
    """Compare what an array claims with what is stored of it, before the HDF5 library makes room for it."""
    what = f"'{key}' of shape {item.shape} and {item.dtype}"
    needed, stored = item.size * item.dtype.itemsize, item.id.get_storage_size()
    if needed > stored * DEFLATE_RATIO:
        raise file_error(path, f"{what} takes {needed} bytes, but {stored} are stored: truncated or damaged.")
    check_decoded_size(path, item.size * max(item.dtype.itemsize, 4), what)
    if item.chunks is None:
        return
    # The library decodes whole chunks, and a chunk to whatever its compressed bytes hold.
    chunk = math.prod(item.chunks) * item.dtype.itemsize
    check_decoded_size(path, chunk, f"one chunk {item.chunks} of {what}")
    plist = item.id.get_create_plist()
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    if filters.count(h5py.h5z.FILTER_DEFLATE) > 1:
        raise file_error(path, f"'{key}' is compressed more than once.")
    for number in range(item.id.get_num_chunks()):
        info = item.id.get_chunk_info(number)
        if info.size <= _ALWAYS_HARMLESS or h5py.h5z.FILTER_DEFLATE not in filters:
            continue
        _, packed = item.id.read_direct_chunk(info.chunk_offset)
        unpacked = len(zlib.decompressobj().decompress(packed, chunk + _CHECKSUM + 1))
        if unpacked > chunk + _CHECKSUM:
            raise file_error(path, f"a chunk of '{key}' holds more than its {chunk} bytes.")
