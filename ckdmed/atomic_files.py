"""Writing files so that a reader never sees half of one; without torch, for those who run without it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "DISK_FULL",
    "DiskFullError",
    "is_temporary",
    "naming_full_disk",
    "remove_leftovers",
    "write_atomic",
    "write_json",
]

# error numbers of a disk that is full and of a quota that is used up
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


# how the names begin of files that have not got their place yet; the process that writes them follows
_WRITING = ".writing-"
# folders in which this process has removed what killed ones left
_TIDIED: set[str] = set()


class DiskFullError(OSError, RuntimeError):
    """A file that could not be written because the disk is full or a quota used up."""


def write_atomic(path: str | os.PathLike, write: Callable[[Path], object], suffix: str | None = None) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step.

    The temporary name keeps the suffix of ``path``, by which some writers choose their format; it begins with a dot
    and :func:`is_temporary` knows it, for the case that the process is killed meanwhile. The file is locked until
    it has its place, and what killed processes left in the folder, no longer locked, is removed before the first
    writing there: a command that is run again after a kill leaves nothing of it.

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
        _tidy(target.parent)
        temporary, lock = _locked_file(target.parent, target.suffix if suffix is None else suffix)
        try:
            write(temporary)
            # mkstemp makes files private to the user; what is written here is meant to be shared like any other output
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
            if lock is not None:
                os.close(lock)
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
        f"{place.resolve()}). Free some space there, such as caches and output folders that are no longer needed. "
        "Files written before are intact; --resume true continues a run."
    )
    full.errno = number
    return full


def remove_leftovers(folder: str | os.PathLike[str]) -> list[Path]:
    """Remove what processes that were killed left half written anywhere below ``folder``; links are not followed.

    A file that some process is writing is locked, wherever that runs, and stays. So does everything on a file system
    without locks.

    Returns:
        the temporary files that are gone.
    """
    found = []
    for parent, _, names in os.walk(os.fspath(folder)):
        found += _removed(Path(parent) / name for name in names if name.startswith(_WRITING))
    return found


def _tidy(folder: Path) -> None:
    """Remove what killed processes left in a folder, once for each folder and process."""
    where = os.path.abspath(folder)
    if where in _TIDIED:
        return
    _TIDIED.add(where)
    try:
        _removed(folder / name for name in os.listdir(folder) if name.startswith(_WRITING))
    except PermissionError:
        # a folder that may be written to but not listed
        pass


def _removed(files: Iterable[Path]) -> list[Path]:
    """Remove temporary files that no process is writing, and return them."""
    gone = []
    for path in files if fcntl is not None else ():
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            # it has its place by now, is another user's, or is no file
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            gone.append(path)
        except OSError:
            # it is being written, another process was faster, or the file system has no locks
            continue
        finally:
            os.close(file)
    return gone


def _locked_file(folder: Path, suffix: str) -> tuple[Path, int | None]:
    """An empty temporary file, and what keeps other processes from removing it while this one lives."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f"{_WRITING}{os.getpid()}-", suffix=suffix, dir=folder)
        if fcntl is None:
            os.close(handle)
            return Path(name), None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            # a file system without such locks; no process can lock the file there, so none removes it either
            os.close(handle)
            return Path(name), None
        # between its making and the lock another process may have taken it for a leftover
        if os.path.exists(name):
            return Path(name), handle
        os.close(handle)


def write_json(path: str | os.PathLike, value: Any) -> Path:
    """Write ``value`` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, default=str) + "\n"
    return write_atomic(path, lambda p: p.write_text(text, encoding="utf-8"))
