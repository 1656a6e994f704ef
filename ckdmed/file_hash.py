"""What tells a file from any other."""

from __future__ import annotations

import hashlib
import os

__all__ = ["sha256_of"]

_BLOCK = 1 << 20


def sha256_of(path: str | os.PathLike[str], length: int | None = None) -> str:
    """SHA-256 of a file's bytes, or of the first ``length`` of them, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK if length is None else min(_BLOCK, length)):
            digest.update(block)
            length = None if length is None else length - len(block)
    return digest.hexdigest()
