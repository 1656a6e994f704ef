"""What tells a file from any other."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["content_mark", "content_mark_of_image", "sha256_of"]

_BLOCK = 1 << 20
# Whole files up to this size; of larger ones parts from the beginning, the middle and the end: to read a set of volumes
# takes minutes.
_WHOLE, _PART = 1 << 20, 1 << 16
# what a gzip file ends with: CRC-32 and length of its content
_TRAILER = 8


def sha256_of(path: str | os.PathLike[str], length: int | None = None) -> str:
    """SHA-256 of a file's bytes, or of the first ``length`` of them, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK if length is None else min(_BLOCK, length)):
            digest.update(block)
            length = None if length is None else length - len(block)
    return digest.hexdigest()


def content_mark(path: str | os.PathLike[str]) -> str:
    """Digits by which a file is told from another one in its place, whatever its name and times, for little reading.

    Of a gzip file they are the checksum of its content; of another one that is larger than 1 MiB they are made from
    parts of it, so that a change of single values between these goes unnoticed.
    """
    size = os.stat(path).st_size
    with open(path, "rb") as stream:
        if os.fspath(path).lower().endswith(".gz") and size > _TRAILER:
            stream.seek(-_TRAILER, os.SEEK_END)
            return stream.read().hex()
        if size <= _WHOLE:
            return hashlib.sha256(stream.read()).hexdigest()
        digest = hashlib.sha256(str(size).encode())
        for place in (0, size // 2, size - _PART):
            stream.seek(place)
            digest.update(stream.read(_PART))
        return digest.hexdigest()


def content_mark_of_image(path: str | os.PathLike[str]) -> str:
    """The `content_mark` of an image: a file, or a folder of them such as a DICOM series, whatever their names."""
    place = Path(path)
    if not place.is_dir():
        return content_mark(place)
    marks = sorted(content_mark(file) for file in place.iterdir() if file.is_file())
    return hashlib.sha256(" ".join(marks).encode()).hexdigest()
