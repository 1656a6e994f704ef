"""Entries of caches that are believed only if nothing in them changed since they were written, and for what they name.

An entry is a file of 16 bytes, then its content. The 16 bytes are a mark and the CRC-32 of what the entry was made from
and of the content: a flipped bit, a cut, or the content of another entry does not fit. This guards against damage, not
against somebody who means to deceive. CRC-32 reads about 2 GiB/s of one core, four times as much as BLAKE2b.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ckdmed.files import write_atomic
from ckdmed.json_files import JsonFileError, read_json

__all__ = [
    "SEAL",
    "HEADER_BYTES",
    "DamagedEntry",
    "checksum",
    "file_stamps",
    "read_entry",
    "sealed",
    "unsealed",
    "write_entry",
]

# 16 bytes, so that the values behind them are aligned for every type
HEADER_BYTES = 16
_MARK = b"ckdmedE1"
SEAL = "checksum"


class DamagedEntry(ValueError):
    """An entry of a cache that does not hold what was written for this name: it is to be made again."""


def checksum(*parts: Any) -> int:
    """CRC-32 of the bytes of ``parts``, one after another; 0 to 2**32 - 1."""
    total = 0
    for part in parts:
        total = zlib.crc32(part, total)
    return total


def write_entry(path: str | os.PathLike, made_of: str, parts: Iterable[Any]) -> Path:
    """Write an entry beside its place, then put it there in one step.

    Args:
        path: of the entry.
        made_of: names everything that the content depends on (sources, settings, versions); whoever reads it must give
            the same text.
        parts: the content, as buffers of bytes.
    """
    buffers = [memoryview(part).cast("B") for part in parts]

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            file.write(_header(made_of, *buffers))
            for buffer in buffers:
                file.write(buffer)

    return write_atomic(path, write)


def read_entry(path: str | os.PathLike, made_of: str) -> np.ndarray:
    """The content of an entry, checked: bytes (n,), uint8, in memory of their own.

    Raises:
        FileNotFoundError: there is no such entry.
        DamagedEntry: it was changed or cut since it was written, is another one's, or cannot be read at all.
    """
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedEntry(f"{path} cannot be read ({error.strerror or error})") from error
    header, payload = content[:HEADER_BYTES].tobytes(), content[HEADER_BYTES:]
    if header != _header(made_of, payload):
        what = "was cut short" if len(header) < HEADER_BYTES else "does not match its checksum"
        raise DamagedEntry(f"{path} {what}")
    return payload


def _header(made_of: str, *parts: Any) -> bytes:
    return _MARK + checksum(made_of.encode(), *parts).to_bytes(HEADER_BYTES - len(_MARK), "little")


def sealed(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table for a JSON file with a checksum of itself under ``checksum``; keys are texts."""
    # what JSON makes of it: tuples become lists
    content = json.loads(json.dumps(dict(table), default=str))
    return {**content, SEAL: _sum_of(content)}


def unsealed(path: str | os.PathLike) -> dict[str, Any]:
    """The table of a JSON file that was written as :func:`sealed` gave it, without the checksum.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedEntry: it is no such table, or was changed.
    """
    try:
        table = read_json(path)
    except JsonFileError as error:
        raise DamagedEntry(str(error)[:300]) from error
    if not isinstance(table, dict) or SEAL not in table:
        raise DamagedEntry(f"{path} has no checksum")
    found = table.pop(SEAL)
    if found != _sum_of(table):
        raise DamagedEntry(f"{path} does not match its checksum")
    return table


def _sum_of(table: Mapping[str, Any]) -> int:
    return checksum(json.dumps(table, sort_keys=True).encode())


def file_stamps(files: Iterable[str | os.PathLike]) -> list[list[Any]]:
    """Path, size and times of files, by which a file that was changed or replaced is noticed without being read.

    The second time is that of the last change of the file's entry, which no program can set: content of equal size that
    was put in place with the old time of modification is noticed as well. On Windows it is the time of creation, and
    such a replacement goes unnoticed there; so does, everywhere, a disk that changes bits by itself. Of a folder (a
    DICOM series) its files are told.

    Raises:
        OSError: a file is not there.
    """
    stamps: list[list[Any]] = []
    for path in files:
        file = str(path)
        status = os.stat(file)
        if os.path.isdir(file):
            stamps.append([file, file_stamps(sorted(entry.path for entry in os.scandir(file) if entry.is_file()))])
        else:
            stamps.append([file, status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return stamps
