"""Files that were written as results: whether they are unchanged, damaged, or edited by somebody since."""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
from pydicom import dcmread

from ckdmed.data.nifti_files import open_nifti
from ckdmed.data.pictures import check_picture
from ckdmed.paths import output_path

__all__ = ["as_written", "checksum", "edited_note", "foreign_note", "is_whole_file", "remove_outdated"]

_MAX_SIDE = 1 << 20


def checksum(path: Path) -> list[int] | None:
    """Size and CRC-32 of a file, which may have been damaged since it was written; None where there is none."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return [len(content), zlib.crc32(content)]


def as_written(checksums: object, folder: Path) -> dict[str, object]:
    """Those of the checksums, see `edited_note`, whose files still are what was written."""
    if not isinstance(checksums, Mapping):
        return {}
    return {name: value for name, value in checksums.items() if checksum(folder / str(name)) == value}


def edited_note(checksums: object, folder: Path) -> str:
    """The note on a result that somebody may have corrected after it was written; "" for none.

    Args:
        checksums: of each file, relative to the folder, as it was written; anything else than a mapping counts as none.
        folder: of the results.
    """
    for name, stated in checksums.items() if isinstance(checksums, Mapping) else ():
        path = folder / str(name)
        # what is damaged cannot be read
        if checksum(path) not in (None, stated) and is_whole_file(path):
            return f"{path}: was changed after it was written, and is kept; move it away to have it made again."
    return ""


def foreign_note(files: Iterable[str], folder: Path) -> str:
    """The note on a file of another program, or of a person, in the place of a result; "" where there is none.

    Args:
        files: that would be written and that no run is known to have written, relative to the folder.
        folder: of the results.
    """
    path = next((folder / name for name in files if os.path.lexists(folder / name)), None)
    if path is None:
        return ""
    return f"{path}: was not written by a run of this folder, and is kept; move it away, or give another --output_dir."


def remove_outdated(checksums: object, files: Collection[str], folder: Path) -> None:
    """Remove what an earlier result had and the new one has not, such as the DICOM results of an earlier mask.

    Beside the new files they would be taken for a part of it. What was changed since it was written stays.

    Args:
        checksums, folder: of the earlier result, see `edited_note`.
        files: of the new one, relative to the folder.

    Raises:
        ValueError: a file lies outside of the folder.
    """
    for name in as_written(checksums, folder):
        if name not in files:
            output_path(folder, name, make_parents=False).unlink(missing_ok=True)


def is_whole_file(path: Path) -> bool:
    """Whether a result file can be read: if so, a change to it is somebody's edit and no damage.

    Text cannot be told from half of it, and counts as whole unless it is empty.
    """
    name = path.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            return open_nifti(path) is not None
        if name.endswith(".png"):
            return check_picture(path, _MAX_SIDE) is not None
        if name.endswith(".dcm"):
            return "SOPClassUID" in dcmread(path, defer_size="1 MB")
        if name.endswith(".npy"):
            return np.load(path, mmap_mode="r", allow_pickle=False) is not None
        if name.endswith(".h5"):
            import h5py

            with h5py.File(path) as file:
                return len(file) > 0
        return name.endswith((".csv", ".tfm")) and path.stat().st_size > 0
    # each library raises its own for damaged files
    except Exception:
        return False
