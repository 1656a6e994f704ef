"""Writing files so that a reader never sees half of one, and weights in particular."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import torch

from ckdmed.atomic_files import (
    DISK_FULL,
    DiskFullError,
    is_temporary,
    naming_full_disk,
    remove_leftovers,
    write_atomic,
    write_json,
)
from ckdmed.limits import FileTooLargeError
from ckdmed.weight_files import check_archive, check_loaded_sizes

__all__ = [
    "DISK_FULL",
    "DiskFullError",
    "is_temporary",
    "load_weights",
    "naming_full_disk",
    "remove_leftovers",
    "save_weights",
    "write_atomic",
    "write_json",
]


def save_weights(path: str | os.PathLike, state: Any) -> Path:
    """``torch.save`` of tensors, plain values and containers of them, flushed to the disk and put in place at once."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            stream = _Noting(file)
            try:
                torch.save(state, stream)  # type: ignore[arg-type]
            except Exception:
                # torch's writer reports a failed write with the number of a line in its own source
                if stream.error is not None:
                    raise stream.error from None
                raise
            file.flush()
            os.fsync(file.fileno())

    return write_atomic(path, write)


class _Noting:
    """A file that remembers the error of its last write."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def load_weights(path: str | os.PathLike, device: str | torch.device = "cpu") -> Any:
    """``torch.load`` that never unpickles anything but tensors and plain values, and compares the zip's checksums.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint, is damaged, or holds objects that would have to be unpickled.
        FileTooLargeError: it would take more memory than is allowed, see `ckdmed.limits`.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no checkpoint '{path}'.")
    try:
        check_archive(Path(path))
        state = torch.load(path, map_location=device, weights_only=True)
        check_loaded_sizes(Path(path), state)
        return state
    except (MemoryError, torch.OutOfMemoryError, FileTooLargeError):
        raise
    # torch raises whatever its zip reader or unpickler meets; each of them means that the file is not usable
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise ValueError(
            f"'{path}' cannot be read as a checkpoint of tensors and plain values ({reason}). "
            "It is damaged, or holds pickled objects, which are not loaded."
        ) from error
