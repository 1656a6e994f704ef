"""The seal of a deployed file: its last bytes, which hold the SHA-256 of all bytes before them.

ONNX and OpenVINO's graphs have no checksum. A bit that changed in them, by a disk or on the way, gave other masks
without a word. Programs that know nothing of the seal read it as any entry of an ONNX file's metadata, which can be
appended since a protocol buffer is the sum of its parts, or as a comment behind OpenVINO's graph.
"""

from __future__ import annotations

import re
from pathlib import Path

from ckdmed.file_hash import sha256_of
from ckdmed.runtime.description import SEAL_KEY, DeployedFileError

__all__ = ["check_seal", "seal", "seal_of_graph"]

_FIELD_OF_METADATA, _KEY, _VALUE = b"\x72", b"\x0a", b"\x12"


def seal(path: Path) -> None:
    """Append the seal to an ``.onnx`` or ``.xml`` file that has none."""
    entry = _entry(path, sha256_of(path))
    with open(path, "ab") as stream:
        stream.write(entry)


def seal_of_graph(path: Path) -> str | None:
    """What the seal of an ``.xml`` file says, whose reader passes comments over; None where there is none."""
    with open(path, "rb") as stream:
        stream.seek(max(path.stat().st_size - len(_entry(path, "0" * 64)), 0))
        found = re.search(rb"<!-- " + SEAL_KEY.encode() + rb" (\S+) -->", stream.read())
    return found[1].decode(errors="replace") if found else None


def check_seal(path: Path, digest: str | None) -> None:
    """Compare a file with its seal.

    Args:
        path: of the file.
        digest: what its metadata hold under `SEAL_KEY`, or `seal_of_graph` says; files of earlier versions, and of
            other programs, have none.

    Raises:
        DeployedFileError: the file is not what was sealed.
    """
    if digest is None:
        return
    entry = _entry(path, digest)
    length = path.stat().st_size - len(entry)
    with open(path, "rb") as stream:
        stream.seek(max(length, 0))
        last = stream.read()
    if last != entry or sha256_of(path, length) != digest:
        raise DeployedFileError(
            f"{path}: is damaged, or was changed after `ckdmed deploy` wrote and judged it; copy or write it again."
        )


def _entry(path: Path, digest: str) -> bytes:
    if path.suffix.lower() == ".xml":
        return f"\n<!-- {SEAL_KEY} {digest} -->\n".encode()

    def part(kind: bytes, content: bytes) -> bytes:
        # lengths below 128 take one byte, and digest and key are far shorter
        return kind + bytes([len(content)]) + content

    return part(_FIELD_OF_METADATA, part(_KEY, SEAL_KEY.encode()) + part(_VALUE, digest.encode()[:64]))
