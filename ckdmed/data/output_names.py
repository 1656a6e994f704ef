"""Names of output files from names of unchecked inputs."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

__all__ = ["input_stem", "output_names"]

_MAX_BYTES = 100
# A folder of this name could stand where a file is to be written.
_LIKE_A_FILE = (".png", ".gz", ".nii", ".json", ".jsonl", ".csv")


def input_stem(name: str) -> str:
    """A file's name without its suffix; ``.nii.gz`` counts as one."""
    return name[:-7] if name.lower().endswith(".nii.gz") and len(name) > 7 else PurePosixPath(name).stem


def output_names(inputs: Sequence[str], folders: Collection[str] = ()) -> list[str]:
    """A different name for the outputs of each input, in the input's subfolder: ``sub/1.mat`` to ``sub/1``.

    Names stay different on file systems that ignore case. Inputs that share a folder and a stem (``1.mat``, ``1.png``)
    keep their suffix (``1_mat``, ``1_png``). Characters other than letters, digits, ``_``, ``-``, ``.`` and blanks
    become ``_``, long parts are cut, and such names get eight digits of the input's hash, as do names that would still
    be equal.

    Args:
        inputs: different relative paths with ``/``, without ``..``.
        folders: those among them that are no files, as series and cases: a dot in their name begins no suffix.

    Raises:
        ValueError: an input stands twice, is absolute or holds ``..``.
    """
    if len(set(inputs)) != len(inputs):
        raise ValueError(f"inputs are given twice: {[name for name, n in Counter(inputs).items() if n > 1][:3]}.")

    def full(path: str) -> str:
        return _name(path, True, path not in folders)

    names = [_name(path, False, path not in folders) for path in inputs]
    for again in (full, lambda path: _hashed(full(path), path)):
        counts = Counter(name.casefold() for name in names)
        names = [again(path) if counts[name.casefold()] > 1 else name for name, path in zip(names, inputs)]
    return names


def _name(path: str, with_suffix: bool, is_file: bool) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ValueError(f"the input {path!r} is not a path relative to a folder.")
    stem = input_stem(pure.name) if is_file else pure.name
    suffix = pure.name[len(stem) :].strip(".").replace(".", "_")
    wanted = [*pure.parts[:-1], f"{stem}_{suffix}" if with_suffix and suffix else stem]
    clean = [_clean(part, folder=i < len(wanted) - 1) for i, part in enumerate(wanted)]
    name = "/".join(clean)
    return name if clean == wanted else _hashed(name, path)


def _clean(part: str, folder: bool) -> str:
    clean = re.sub(r"[^\w.\- ]", "_", part).strip(". ")
    if folder and clean.lower().endswith(_LIKE_A_FILE):
        clean = clean.replace(".", "_")
    while len(clean.encode()) > _MAX_BYTES:
        clean = clean[:-1]
    return clean or "_"


def _hashed(name: str, path: str) -> str:
    return f"{name}-{hashlib.sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
