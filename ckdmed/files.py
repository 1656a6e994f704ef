"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

__all__ = ["load_weights", "save_weights", "write_atomic", "write_json"]


def write_atomic(path: str | os.PathLike, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step.

    The temporary name keeps the suffix of ``path``, by which some writers choose their format.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
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


def write_json(path: str | os.PathLike, value: Any) -> Path:
    """Write ``value`` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, default=str) + "\n"
    return write_atomic(path, lambda p: p.write_text(text, encoding="utf-8"))


def save_weights(path: str | os.PathLike, state: Any) -> Path:
    """``torch.save`` of tensors, plain values and containers of them, flushed to the disk and put in place at once."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())

    return write_atomic(path, write)


def load_weights(path: str | os.PathLike, device: str | torch.device = "cpu") -> Any:
    """``torch.load`` that never unpickles anything but tensors and plain values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint, is damaged, or holds objects that would have to be unpickled.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no checkpoint '{path}'.")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    # torch raises whatever its zip reader or unpickler meets; each of them means that the file is not usable
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise ValueError(
            f"'{path}' cannot be read as a checkpoint of tensors and plain values ({reason}). "
            "It is damaged, or holds pickled objects, which are not loaded."
        ) from error
