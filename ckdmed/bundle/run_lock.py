"""One run at a time in an output folder."""

from __future__ import annotations

import atexit
import errno
import fcntl
import json
import logging
import os
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.typed_command import typed_command
from ckdmed.files import naming_full_disk
from ckdmed.json_files import read_json

__all__ = ["LOCK_NAME", "hold", "in_use", "release"]

LOCK_NAME = ".run.lock"
logger = logging.getLogger("ckdmed")


@dataclass(frozen=True)
class _Lock:
    """The open file, whether the folder was made for it, and the resolved output folder of the run."""

    file: int
    made: bool
    run: Path


# the locks that this process holds, by resolved folder
_HELD: dict[Path, _Lock] = {}


def hold(folder: Path, setting: str = "output_dir", run: Path | None = None) -> None:
    """Make ``folder`` and lock it for this process until :func:`release` or its end, however that comes.

    A process that holds it already goes on holding it. A folder that was made and stays empty is removed at the end.

    Args:
        folder: to lock.
        setting: that gives it, for the message.
        run: output folder of the run, with whose lock this one is given up; the folder itself for None.

    Raises:
        RefusedStart: another process holds it; names that run. It is a file, or lies where nothing may be written.
    """
    where = folder.resolve()
    if where in _HELD:
        return
    made = not where.exists()
    path = where / LOCK_NAME
    with _naming_place(folder, setting):
        where.mkdir(parents=True, exist_ok=True)
    while True:
        with _naming_place(folder, setting):
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _locked(file, path):
                raise RefusedStart(
                    f"'{folder}' is in use by another run{_named(path)}; wait until it ends, or give another "
                    f"{setting}."
                )
            # the run before may have removed the file between our opening it and locking it
            if path.exists() and os.path.samestat(os.fstat(file), os.stat(path)):
                break
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    _HELD[where] = _Lock(file, made, (run or folder).resolve())
    told = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    try:
        with naming_full_disk(path):
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps({**told, "command": shlex.join(typed_command())}).encode(), 0)
    except OSError:
        release(folder)
        raise


@contextmanager
def _naming_place(folder: Path, setting: str) -> Iterator[None]:
    """Turn what the system says of a place that is no folder to write in into a refusal."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise RefusedStart(f"'{folder}' is not a folder, or its parent is not one; give another {setting}.") from error
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise RefusedStart(
            f"'{folder}' cannot be written to ({error.strerror}); change its permissions, or give another {setting}."
        ) from error


def release(folder: Path) -> None:
    """Give up the lock, if this process holds it, with those of the same run, and remove their files."""
    run = folder.resolve()
    # the folder itself last: others that were made may lie in it
    for where in sorted((where for where, lock in _HELD.items() if run in (where, lock.run)), reverse=True):
        lock = _HELD.pop(where)
        (where / LOCK_NAME).unlink(missing_ok=True)
        os.close(lock.file)
        if lock.made and where.is_dir() and not any(where.iterdir()):
            where.rmdir()


def in_use(folder: Path, by_others: bool = False) -> bool:
    """Whether a run holds the lock of ``folder``, this process's own among them unless only others count."""
    if folder.resolve() in _HELD:
        return not by_others
    path = folder / LOCK_NAME
    if not path.is_file():
        return False
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        # it ended meanwhile
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        raise
    finally:
        os.close(file)
    return False


def _locked(file: int, path: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        logger.warning(
            f"'{path}': this file system does not support locks ({error}); make sure that no other run writes here."
        )
    return True


def _named(path: Path) -> str:
    try:
        run = read_json(path)
        return f" (process {run['pid']} on {run['host']} since {run['since']}: {run['command']})"
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        # it has only just begun, or ended meanwhile
        return ""


def _release_all() -> None:
    for folder in list(_HELD):
        release(folder)


def _forget() -> None:
    # a worker that outlives its run must not keep the folder locked; closing a copy does not unlock
    for lock in _HELD.values():
        os.close(lock.file)
    _HELD.clear()


atexit.register(_release_all)
os.register_at_fork(after_in_child=_forget)
