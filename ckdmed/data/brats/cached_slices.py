"""Slices of a cache as items of any MONAI dataset, and whole cases as stacks of such slices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ckdmed.data.brats.slice_arrays import read_slices
from ckdmed.data.brats.slice_cache import TABLE_NAME, normalised
from ckdmed.data.brats.slice_index import read_slice_table
from ckdmed.data.slice_geometry import spatial_geometry

__all__ = ["CaseSlicesd", "LoadCachedSliced"]


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
            table = _table_of(path.parent)
            there = list(table["modalities"])
            if missing := [name for name in self.modalities if name not in there]:
                raise ValueError(f"{path.parent}: the cache lacks {', '.join(missing)} (found: {', '.join(there)}).")
            row = read_slices(path, table["arrays"][path.name], int(d[self.slice_key]), 1)[0]
            d[key] = torch.from_numpy(row[[there.index(name) for name in self.modalities]].astype(np.float32))
        return d


def _table_of(folder: Path) -> Mapping[str, Any]:
    # Read once for a case and not once for a slice; a cache that is built anew has another time.
    stamp = (folder / TABLE_NAME).stat().st_mtime_ns if (folder / TABLE_NAME).is_file() else 0
    known = _TABLES.get(folder)
    if known is None or known[0] != stamp:
        known = _TABLES[folder] = (stamp, read_slice_table(folder))
    return known[1]


_TABLES: dict[Path, tuple[int, Mapping[str, Any]]] = {}


class CaseSlicesd(MapTransform):
    """Turn the volume of a case into the slices that `build_slice_cache` would write of it: only those with brain.

    Slices and modalities share the first axis afterwards, slice by slice, so that two-dimensional transforms treat each
    alone; ``unflatten(0, (-1, C))`` parts them again.

    Args:
        keys: keys of the volumes, MetaTensors with their affine.
        slices_key: key under which the numbers of the slices are put. Default "slices".
        plane, normalise: see `build_slice_cache`; the normalisation defaults to "unit".
        dtype: "float16" for the values that a cache keeps, or "float32" (default) without that rounding.

    Shape:
        ``[C, X, Y, Z]`` to ``[S * C, H, W]``, float32 tensor; the numbers ``[S]``.

    Raises:
        ValueError: when called, a volume of other axes, or one whose every value is 0.
    """

    def __init__(
        self,
        keys: KeysCollection,
        slices_key: str = "slices",
        plane: str = "axial",
        normalise: str = "unit",
        dtype: str = "float32",
    ) -> None:
        super().__init__(keys)
        self.slices_key, self.plane, self.normalise, self.dtype = slices_key, plane, normalise, dtype

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            volume = d[key]
            if not isinstance(volume, MetaTensor) or volume.ndim != 4:
                raise ValueError(f"'{key}' must be a volume (C, X, Y, Z) with its affine, got {tuple(volume.shape)}.")
            channels = [channel.numpy() for channel in volume.as_tensor()]
            geometry = spatial_geometry("nifti", channels[0].shape, np.asarray(volume.affine), self.plane)
            brain = geometry.to_slices(np.logical_or.reduce([channel != 0 for channel in channels]))
            numbers = np.flatnonzero(brain.any(axis=(1, 2)))
            if not numbers.size:
                raise ValueError(f"'{key}' is 0 everywhere; there is no brain in it.")
            parts = [geometry.to_slices(normalised(channel, self.normalise))[numbers] for channel in channels]
            d[key] = torch.from_numpy(np.stack(parts, axis=1).astype(self.dtype).astype(np.float32)).flatten(0, 1)
            # an array: MONAI Deploy hands every further tensor of an item to the network
            d[self.slices_key] = numbers
        return d
