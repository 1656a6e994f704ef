"""How large a file may become when it is decoded: a small file can claim any size."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["DEFLATE_RATIO", "MAX_BYTES_VARIABLE", "FileTooLargeError", "check_decoded_size", "max_decoded_bytes"]

#: The environment variable that sets the limit.
MAX_BYTES_VARIABLE = "CKDMED_MAX_BYTES"
#: Deflate (gzip, zip, PNG, HDF5) makes at most this many bytes of one.
DEFLATE_RATIO = 1032
# A T1 volume of 512 x 512 x 256 in float32; a reader holds up to four copies for a moment.
_DEFAULT_MAX_BYTES = 256 << 20
# Medical images shrink to a half or a tenth; what is large because its file is large has nothing to hide.
_PLAIN_RATIO = 16


class FileTooLargeError(ValueError):
    """A file that would take more memory than is allowed; the message names the file, the size and the remedy."""


def max_decoded_bytes(path: str | os.PathLike) -> int:
    """How many bytes a file may take when decoded.

    The number in the environment variable ``CKDMED_MAX_BYTES``; where that is not set, 256 MiB, or 16 times the file's
    own size if that is more.

    Raises:
        ValueError: the variable is no positive whole number.
    """
    text = os.environ.get(MAX_BYTES_VARIABLE, "").strip()
    if not text:
        return max(_DEFAULT_MAX_BYTES, _PLAIN_RATIO * Path(path).stat().st_size)
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{MAX_BYTES_VARIABLE} must be a number of bytes, such as 4000000000, got {text!r}.")
    return int(text)


def check_decoded_size(path: str | os.PathLike, needed: int | float, what: str) -> None:
    """Refuse a file before it is decoded.

    Args:
        path: the file.
        needed: bytes that its content takes in memory.
        what: of which content, with what the header says, for the message.

    Raises:
        FileTooLargeError: that is more than `max_decoded_bytes`.
    """
    allowed = max_decoded_bytes(path)
    if needed > allowed:
        raise FileTooLargeError(
            f"{path}: {what} would take {int(needed)} bytes in memory, but {allowed} are allowed for a file of "
            f"{Path(path).stat().st_size} bytes. If the file is what it should be, set the environment variable "
            f"{MAX_BYTES_VARIABLE} to a larger number."
        )
