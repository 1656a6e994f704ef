"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from ckdmed.limits import FileTooLargeError
from ckdmed.weight_files import check_archive, check_loaded_sizes

__all__ = [
    "DISK_FULL",
    "DiskFullError",
    "load_weights",
    "naming_full_disk",
    "remove_leftovers",
    "save_weights",
    "write_atomic",
    "write_json",
]

# error numbers of a disk that is full and of a quota that is used up
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


# how the names begin of files that have not got their place yet; the process that writes them follows
_WRITING = ".writing-"


class DiskFullError(OSError, RuntimeError):
    """A file that could not be written because the disk is full or a quota used up."""


def write_atomic(path: str | os.PathLike, write: Callable[[Path], object], suffix: str | None = None) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step.

    The temporary name keeps the suffix of ``path``, by which some writers choose their format; it begins with a dot
    and :func:`is_temporary` knows it, for the case that the process is killed meanwhile.

    Args:
        suffix: of the temporary name instead.

    Raises:
        DiskFullError: there is no room; names the file and what to free.
        IsADirectoryError: a folder stands where the file is to be.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"'{target}' is a folder where a file is to be written; move it away.")
    with naming_full_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f"{_WRITING}{os.getpid()}-", suffix=target.suffix if suffix is None else suffix, dir=target.parent
        )
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            # mkstemp makes files private to the user; what is written here is meant to be shared like any other output
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    return target


@contextmanager
def naming_full_disk(path: str | os.PathLike) -> Iterator[None]:
    """Let a write that finds no room name the file or folder that it is about, which the system's error does not.

    Raises:
        DiskFullError: there was no room in the block.
    """
    try:
        yield
    except OSError as error:
        # NumPy's own writes tell no number
        full = error.errno in DISK_FULL or (error.errno is None and " requested and " in str(error))
        if full and not isinstance(error, DiskFullError):
            raise _disk_full(Path(path), error) from error
        raise


def is_temporary(path: str | os.PathLike) -> bool:
    """Whether a file is one that :func:`write_atomic` has not put in place, or never did."""
    return Path(path).name.startswith(_WRITING)


def _disk_full(target: Path, error: OSError) -> DiskFullError:
    # there may have been no room for the folder itself
    place = next(folder for folder in target.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(place).free / 2**20
    number = error.errno or errno.ENOSPC
    full = DiskFullError(
        f"'{target}' could not be written: {os.strerror(number)} ({free:.1f} MiB free on the disk of "
        f"{place.resolve()}). Free some there: caches and output folders that are no longer needed can go. "
        "What was written before is whole; a run goes on with --resume true."
    )
    full.errno = number
    return full


def remove_leftovers(folder: str | os.PathLike[str]) -> list[Path]:
    """Remove what processes that were killed left half written anywhere below ``folder``; links are not followed.

    Returns:
        the temporary files that are gone.
    """
    found = []
    for parent, _, names in os.walk(os.fspath(folder)):
        found += [Path(parent) / name for name in names if name.startswith(_WRITING) and not _is_alive(name)]
    for path in found:
        path.unlink(missing_ok=True)
    return found


def _is_alive(name: str) -> bool:
    """Whether the process that a temporary file is named after runs; this one is not in the midst of writing."""
    number = name.removeprefix(_WRITING).split("-")[0]
    if not number.isdigit() or int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # it is another user's
        pass
    return True


def write_json(path: str | os.PathLike, value: Any) -> Path:
    """Write ``value`` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, default=str) + "\n"
    return write_atomic(path, lambda p: p.write_text(text, encoding="utf-8"))


def save_weights(path: str | os.PathLike, state: Any) -> Path:
    """``torch.save`` of tensors, plain values and containers of them, flushed to the disk and put in place at once."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            stream = _Noting(file)
            try:
                torch.save(state, stream)  # type: ignore[arg-type]
            except Exception:
                # torch's writer answers a failed write with the number of a line in its own source
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
