"""The seal of an ONNX file: the last entry of its metadata, which holds the SHA-256 of all bytes before it.

ONNX has no checksum. A bit that changed in the weights, by a disk or on the way, gave other masks without a word. The
entry is appended as bytes, since a protocol buffer is the sum of its parts: programs that know nothing of it read it as
any metadata.
"""

from __future__ import annotations

from pathlib import Path

from ckdmed.file_hash import sha256_of
from ckdmed.runtime.description import SEAL_KEY, DeployedFileError

__all__ = ["check_seal", "seal_onnx"]

_FIELD_OF_METADATA, _KEY, _VALUE = b"\x72", b"\x0a", b"\x12"


def seal_onnx(path: Path) -> None:
    """Append the seal to a file that has none."""
    entry = _entry(sha256_of(path))
    with open(path, "ab") as stream:
        stream.write(entry)


def check_seal(path: Path, digest: str | None) -> None:
    """Compare a file with its seal.

    Args:
        path: of the file.
        digest: what its metadata hold under `SEAL_KEY`; files of earlier versions, and of other programs, have none.

    Raises:
        DeployedFileError: the file is not what was sealed.
    """
    if digest is None:
        return
    entry = _entry(digest)
    length = path.stat().st_size - len(entry)
    with open(path, "rb") as stream:
        stream.seek(max(length, 0))
        last = stream.read()
    if last != entry or sha256_of(path, length) != digest:
        raise DeployedFileError(
            f"{path}: is damaged, or was changed after `ckdmed deploy` wrote and judged it; copy or write it again."
        )


def _entry(digest: str) -> bytes:
    def part(kind: bytes, content: bytes) -> bytes:
        # lengths below 128 take one byte, and digest and key are far shorter
        return kind + bytes([len(content)]) + content

    return part(_FIELD_OF_METADATA, part(_KEY, SEAL_KEY.encode()) + part(_VALUE, digest.encode()[:64]))
