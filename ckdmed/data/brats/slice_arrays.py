"""The arrays of a slice cache: their description in its table, and single slices read from the disk and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ckdmed.checked_entries import checksum

__all__ = ["array_problem", "describe_array", "new_array", "read_slices"]

_REMEDY = "run slice-cache again to rebuild the case"


def new_array(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    """A .npy file to fill through memory, with its room on the disk taken at once.

    Raises:
        OSError: the disk is full. Without the room a write to the mapped memory would end the process.
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, array.offset + array.nbytes)
    return array


def describe_array(path: Path) -> dict[str, Any]:
    """Of a .npy file of slices: shape, type, where its values begin, and checksums of the header and of each slice."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    with open(path, "rb") as file:
        header = file.read(array.offset)
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.str,
        "offset": array.offset,
        "header": checksum(header),
        "slices": [checksum(np.ascontiguousarray(part)) for part in array],
    }


def array_problem(path: Path, entry: Mapping[str, Any], thorough: bool) -> str:
    """How an array differs from its description in the table, or "".

    Args:
        path: of the .npy file.
        entry: what :func:`describe_array` gave when it was written.
        thorough: whether to read all of it, about 1 GB/s; otherwise its size alone is looked at.
    """
    size = entry["offset"] + len(entry["slices"]) * _slice_bytes(entry)
    try:
        found = os.stat(path).st_size
        if found != size:
            return f"{path.name} has {found} bytes, not {size}"
        if not thorough:
            return ""
        with open(path, "rb") as file:
            if checksum(file.read(entry["offset"])) != entry["header"]:
                return f"the header of {path.name} does not match its checksum"
            for number, expected in enumerate(entry["slices"]):
                if checksum(file.read(_slice_bytes(entry))) != expected:
                    return f"slice {number} of {path.name} does not match its checksum"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror or error})"
    return ""


def read_slices(path: Path, entry: Mapping[str, Any], first: int, count: int) -> np.ndarray:
    """`np.load(path)[first : first + count]`, by reading these bytes alone and checking them.

    A memory map would keep every page that was ever read in the process; this keeps nothing. The check takes 0.2 ms of
    a slice of 240 x 240 with four modalities as float16.

    Args:
        path: of the .npy file.
        entry: its entry in the table, see :func:`describe_array`.
        first, count: slices along the first axis.

    Raises:
        ValueError: the file cannot be read or is too short, a slice does not fit its checksum, or there are fewer.
    """
    size = _slice_bytes(entry)
    if not 0 <= first <= first + count <= len(entry["slices"]):
        raise ValueError(
            f"{path}: slices {first} to {first + count - 1} were requested, but there are {len(entry['slices'])}."
        )
    try:
        with open(path, "rb") as stream:
            stream.seek(entry["offset"] + first * size)
            data = stream.read(count * size)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error}); {_REMEDY}.") from error
    for position in range(count):
        if checksum(data[position * size : (position + 1) * size]) != entry["slices"][first + position]:
            raise ValueError(f"{path}: slice {first + position} is damaged (its checksum does not match); {_REMEDY}.")
    return np.frombuffer(data, np.dtype(entry["dtype"])).reshape(count, *entry["shape"][1:])


def _slice_bytes(entry: Mapping[str, Any]) -> int:
    return int(np.prod(entry["shape"][1:], dtype=np.int64)) * np.dtype(entry["dtype"]).itemsize
