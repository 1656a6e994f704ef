"""One person under two names: cases of several releases in one folder, and copies under another name."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike

from ckdmed.data.brats.headers import VolumeFileError, open_nifti
from ckdmed.data.patients import joined_groups, spelt_alike
from ckdmed.file_hash import content_mark

__all__ = ["same_persons"]


def same_persons(items: Sequence[Mapping[str, Any]], folder: PathLike) -> dict[str, str]:
    """Patient groups that are one person: their names differ in spelling alone (`spelt_alike`), as in a table that was
    put together from several, or they hold the same images, though their names do not show it.

    The release of 2023 repeats cases of 2021 under other names, and there is no list for those who put both into one
    folder. Images are read where cases of releases with other names lie together (one modality of each), and else only
    of those whose masks have equally many voxels of every label, or whose first files are copies. They are the same
    where the values of their voxels other than 0 are, as a set with counts: releases turn the axes round.

    Args:
        items: of a datalist, with ``image``, ``modalities``, ``release``, ``patient_group`` and ``label_voxels``.
        folder: that of the datalist.

    Returns:
        group -> the name that it shares with the others, the first in the alphabet; groups of their own are left out.

    Raises:
        VolumeFileError: an image cannot be read.
    """
    content: dict[str, set[str]] = defaultdict(set)
    suspects = _suspects(items, Path(folder))
    common = set(suspects[0]["modalities"]).intersection(*(item["modalities"] for item in suspects)) if suspects else ()
    for modality in sorted(common)[:1]:
        for item in suspects:
            content[_fingerprint(item, modality, Path(folder))].add(str(item["patient_group"]))
    same = [groups for groups in content.values() if len(groups) > 1]
    return joined_groups([*same, *spelt_alike({str(item["patient_group"]) for item in items})])


def _suspects(items: Sequence[Mapping[str, Any]], folder: Path) -> list[Mapping[str, Any]]:
    # the releases from 2023 on share their names
    if len({"2023" if item["release"] in ("2024", "2025") else item["release"] for item in items}) > 1:
        return list(items)
    alike: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for item in items:
        if item.get("label_voxels"):
            alike[tuple(sorted(item["label_voxels"].values()))].append(item)
        # a copy may have another mask, a corrected one, or none
        file = folder / item["image"][0]
        if file.is_file():
            alike["file", content_mark(file)].append(item)
    found = [item for same in alike.values() if len({one["patient_group"] for one in same}) > 1 for item in same]
    return list({item["case"]: item for item in found}.values())


def _fingerprint(item: Mapping[str, Any], modality: str, folder: Path) -> str:
    names, paths = list(item["modalities"]), list(item["image"])
    path = folder / (paths[names.index(modality)] if len(paths) == len(names) else paths[0])
    image = open_nifti(path)
    try:
        values = np.asanyarray(image.dataobj)
    except Exception as error:
        raise VolumeFileError(
            f"{path}: the image cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})."
        ) from error
    if values.ndim == 4:
        values = values[..., names.index(modality)]
    counted = np.unique(values[values != 0].astype(np.float32), return_counts=True)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in counted)).hexdigest()
