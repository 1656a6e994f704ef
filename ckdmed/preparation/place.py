"""What of the given folders is not searched, for the results are going to lie there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ckdmed.data.volume_reader import dicom_files, is_nifti
from ckdmed.preparation.run import RECORD_NAME

__all__ = ["folder_not_searched"]


def folder_not_searched(out: Path, given: Sequence[Path]) -> Path | None:
    """`out`, if it lies in one of the given folders and no given folder lies in it; else None.

    Raises:
        ValueError: `out` is a given folder, or a subfolder of one that holds images beside what was prepared there:
            these would be passed over, and might be replaced.
    """
    place = out.resolve()
    roots = [folder.resolve() for folder in given]
    if place in roots:
        raise ValueError(
            f"{out} is a folder of the inputs; the originals could be replaced; give another --output_dir."
        )
    if any(root.is_relative_to(place) for root in roots):
        return None
    if not any(place.is_relative_to(root) for root in roots):
        return None
    if (image := _image_below(place)) is not None:
        raise ValueError(
            f"{out} lies in the given folder and holds images that were not prepared ({image}); the originals could be "
            "replaced; give another --output_dir."
        )
    return out


def _image_below(folder: Path) -> Path | None:
    """An image that is none of our results, or None; hidden folders are those of runs that were broken off."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not (Path(here) == folder and (Path(here) / name / RECORD_NAME).is_file())
        )
        if images := sorted(name for name in files if is_nifti(name)):
            return Path(here) / images[0]
        if series := dicom_files(Path(here)):
            return Path(series[0])
    return None
