"""Names that come from data, and the paths below an output folder that are made of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeAlias

__all__ = ["PathLike", "checked_name", "output_path", "path_list"]

#: As in MONAI, which the readers do without: they also run where no torch is installed (`ckdmed.runtime`).
PathLike: TypeAlias = "str | os.PathLike[str]"

# What a file system or a shell takes for something else; a list made on one system is used on another.
_RESERVED = frozenset('/\\:*?"<>|')
# A file system takes 255; a case's name gets a modality and a suffix, and a temporary folder eight letters more.
_MAX_BYTES = 200


def path_list(files: Sequence[PathLike] | PathLike) -> list[Path]:
    """One path, or several, as a list."""
    return [Path(path) for path in ([files] if isinstance(files, (str, os.PathLike)) else files)]


def checked_name(name: str, what: str = "the name") -> str:
    """`name`, if it can be that of one file or folder: every name out of a datalist, a folder or an option comes by.

    Args:
        name: as the data say.
        what: what is named, for the message.

    Raises:
        ValueError: it is empty or no text, begins with a dot (`..`, hidden files), begins or ends with a blank, ends
            with a dot, is longer than 200 bytes, or holds a character that is not printable or one of `/\\:*?"<>|`.
    """
    reason = _name_problem(name)
    if reason:
        raise ValueError(f"{what} {name!r} cannot be the name of a folder or file: it {reason}; rename it.")
    return name


def _name_problem(name: str) -> str:
    if not isinstance(name, str) or not name:
        return "is empty or not text"
    if not name.isprintable():
        return "holds a character that cannot be printed"
    if found := sorted(_RESERVED.intersection(name)):
        return f"holds {' '.join(found)}"
    if name.startswith("."):
        return "begins with a dot"
    if name != name.strip() or name.endswith("."):
        return "begins or ends with a space, or ends with a dot"
    if len(name.encode()) > _MAX_BYTES:
        return f"has {len(name.encode())} bytes, {_MAX_BYTES} are allowed"
    return ""


def output_path(folder: str | Path, relative: str | Path, make_parents: bool = True) -> Path:
    """`folder` / `relative`; every path below an output folder that data or settings name is made here.

    The last part may be a link: `ckdmed.files.write_atomic` puts a file in its place and does not follow it.

    Args:
        folder: the output folder.
        relative: the place in it.
        make_parents: whether to make the folders up to it. False where something is only looked up.

    Raises:
        ValueError: the place is not inside the folder, because of ``..``, an absolute name or a link in the folder.
    """
    root, text = Path(folder).resolve(), str(relative)
    target = root / text
    parts = (*PurePosixPath(text).parts, *PureWindowsPath(text).parts)
    # before anything is made: a link may stand anywhere on the way
    leaves = ".." in parts or "\0" in text or target == root or not target.parent.resolve().is_relative_to(root)
    if leaves:
        raise ValueError(f"'{relative}' is not inside the output folder {root} (a link?); nothing is written there.")
    if make_parents:
        target.parent.mkdir(parents=True, exist_ok=True)
    return target
