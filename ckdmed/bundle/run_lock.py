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
from pathlib import Path

from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.typed_command import typed_command
from ckdmed.files import naming_full_disk
from ckdmed.json_files import read_json

__all__ = ["LOCK_NAME", "hold", "in_use", "release"]

LOCK_NAME = ".run.lock"
logger = logging.getLogger("ckdmed")

# the locks that this process holds, by resolved folder: the open file, and whether the folder was made for it
_HELD: dict[Path, tuple[int, bool]] = {}


def hold(folder: Path) -> None:
    """Make ``folder`` and lock it for this process until :func:`release` or its end, however that comes.

    A process that holds it already goes on holding it. A folder that was made and stays empty is removed at the end.

    Raises:
        RefusedStart: another process holds it; names that run. It is a file, or lies where nothing may be written.
    """
    where = folder.resolve()
    if where in _HELD:
        return
    made = not where.exists()
    path = where / LOCK_NAME
    with _naming_place(folder):
        where.mkdir(parents=True, exist_ok=True)
    while True:
        with _naming_place(folder):
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _locked(file, path):
                raise RefusedStart(
                    f"'{folder}' is in use by another run{_named(path)}; wait for its end, or give another output_dir."
                )
            # the run before may have removed the file between our opening it and locking it
            if path.exists() and os.path.samestat(os.fstat(file), os.stat(path)):
                break
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    _HELD[where] = file, made
    run = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    try:
        with naming_full_disk(path):
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps({**run, "command": shlex.join(typed_command())}).encode(), 0)
    except OSError:
        release(folder)
        raise


@contextmanager
def _naming_place(folder: Path) -> Iterator[None]:
    """Turn what the system says of a place that is no folder to write in into a refusal."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise RefusedStart(f"'{folder}' is no folder, or lies in what is none; give another output_dir.") from error
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise RefusedStart(
            f"'{folder}' cannot be written to ({error.strerror}); change its permissions, or give another output_dir."
        ) from error


def release(folder: Path) -> None:
    """Give up the lock, if this process holds it, and remove its file."""
    where = folder.resolve()
    file, made = _HELD.pop(where, (None, False))
    if file is None:
        return
    (where / LOCK_NAME).unlink(missing_ok=True)
    os.close(file)
    if made and where.is_dir() and not any(where.iterdir()):
        where.rmdir()


def in_use(folder: Path) -> bool:
    """Whether a run holds the lock of ``folder``, this process's own among them."""
    if folder.resolve() in _HELD:
        return True
    path = folder / LOCK_NAME
    if not path.is_file():
        return False
    file = os.open(path, os.O_RDONLY)
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
        logger.warning(f"'{path}': this file system knows no locks ({error}); see to it that no other run writes here.")
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
    for file, _ in _HELD.values():
        os.close(file)
    _HELD.clear()


atexit.register(_release_all)
os.register_at_fork(after_in_child=_forget)
