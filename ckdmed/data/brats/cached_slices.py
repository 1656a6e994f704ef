"""Slices of a cache as items of any MONAI dataset, and whole cases as stacks of such slices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ckdmed.data.brats.headers import BratsFileError, VolumeHeader, grid_disagreement
from ckdmed.data.brats.slice_cache import TABLE_NAME, normalised
from ckdmed.data.brats.slice_dataset import read_npy_rows
from ckdmed.data.brats.slice_index import read_slice_table
from ckdmed.data.slice_geometry import spatial_geometry
from ckdmed.data.volume_reader import read_volume

__all__ = ["LoadCachedSliced", "LoadCaseSlicesd", "read_case_slices"]


class LoadCachedSliced(MapTransform):
    """Read one slice of a slice cache: the path of its case's ``image.npy`` becomes the slice's image.

    For the items of an ordinary dataset, which may then be cached, split and sampled like any others;
    :class:`BratsSliceDataset` is the shorter way where masks are wanted as well.

    Args:
        keys: keys of the paths.
        modalities: those to read, in this order.
        slice_key: key of the slice's number. Default "slice".

    Shape:
        new: ``[len(modalities), H, W]``, float32 tensor.

    Raises:
        ValueError: `modalities` is empty; when called, the cache lacks one of them, or is damaged.
    """

    def __init__(self, keys: KeysCollection, modalities: Sequence[str], slice_key: str = "slice") -> None:
        super().__init__(keys)
        if isinstance(modalities, str) or not modalities:
            raise ValueError(f"modalities must be a list of names, got {modalities!r}.")
        self.modalities = list(modalities)
        self.slice_key = slice_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            path = Path(d[key])
            there = _modalities_of(path.parent)
            if missing := [name for name in self.modalities if name not in there]:
                raise ValueError(f"{path.parent}: the cache lacks {', '.join(missing)} (there: {', '.join(there)}).")
            row = read_npy_rows(path, int(d[self.slice_key]), 1)[0]
            d[key] = torch.from_numpy(row[[there.index(name) for name in self.modalities]].astype(np.float32))
        return d


def _modalities_of(folder: Path) -> list[str]:
    # Read once for a case and not once for a slice; a cache that is built anew has another time.
    stamp = (folder / TABLE_NAME).stat().st_mtime_ns if (folder / TABLE_NAME).is_file() else 0
    known = _TABLES.get(folder)
    if known is None or known[0] != stamp:
        known = _TABLES[folder] = (stamp, list(read_slice_table(folder)["modalities"]))
    return known[1]


_TABLES: dict[Path, tuple[int, list[str]]] = {}


def read_case_slices(
    files: Sequence[Path], channels: Sequence[int] | None = None, plane: str = "axial", normalise: str = "unit"
) -> tuple[np.ndarray, np.ndarray]:
    """A whole case as the slices that `build_slice_cache` would write of it.

    Args:
        files: one NIfTI file for each modality, or one 4-D file.
        channels: of a 4-D file those to take, in this order; None for all.
        plane, normalise: see `build_slice_cache`.

    Returns:
        (S, C, rows, columns) float32, the slices that hold brain, upright; and their numbers (S,).

    Raises:
        BratsFileError: a file is damaged, files lie on different grids (both are named), or every value is 0.
    """
    volumes: list[np.ndarray] = []
    first: VolumeHeader | None = None
    for file in files:
        array, affine = read_volume(file)
        header = VolumeHeader(Path(file), array.shape, affine)
        if first is not None and (problem := grid_disagreement(first, header)):
            raise BratsFileError(f"{Path(file).parent}: {problem}.")
        first = first or header
        if array.ndim == 4:
            volumes += [array[..., number] for number in (range(array.shape[3]) if channels is None else channels)]
        else:
            volumes.append(array)
    if first is None:
        raise BratsFileError("there is no file to read slices from.")
    geometry = spatial_geometry("nifti", volumes[0].shape, first.affine, plane)
    brain = np.logical_or.reduce([volume != 0 for volume in volumes])
    numbers = np.flatnonzero(geometry.to_slices(brain).any(axis=(1, 2)))
    if not numbers.size:
        raise BratsFileError(f"{first.path}: every value is 0; there is no brain.")
    slices = [geometry.to_slices(normalised(volume, normalise))[numbers] for volume in volumes]
    return np.stack(slices, axis=1).astype(np.float32), numbers


class LoadCaseSlicesd(MapTransform):
    """Read the modalities of a case from their files as one stack of slices, each of which is classified by itself.

    Slices and modalities share the first axis, slice by slice, so that two-dimensional transforms treat each alone;
    ``unflatten(0, (-1, len(modalities)))`` parts them again.

    Args:
        keys: keys of the files: a list of one for each modality.
        slices_key: key under which the slices' numbers are put. Default "slices".
        plane, normalise: see `read_case_slices`.

    Shape:
        new: ``[S * C, H, W]``, float32 tensor; the numbers ``[S]``.
    """

    def __init__(
        self, keys: KeysCollection, slices_key: str = "slices", plane: str = "axial", normalise: str = "unit"
    ) -> None:
        super().__init__(keys)
        self.slices_key, self.plane, self.normalise = slices_key, plane, normalise

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            files = [Path(path) for path in ([d[key]] if isinstance(d[key], str) else d[key])]
            slices, numbers = read_case_slices(files, d.get("channels"), self.plane, self.normalise)
            d[key] = torch.from_numpy(slices).flatten(0, 1)
            d[self.slices_key] = torch.from_numpy(numbers)
        return d
