"""Volumes cut into the slices that a network of slices sees, and results put together again."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import MetaKeys, convert_to_numpy

from ckdmed.data.slice_geometry import SLICE_AXES, SliceGeometry, spatial_geometry
from ckdmed.data.slice_reader import GEOMETRY_KEY

__all__ = ["NOTED_KEY", "CutVolumed", "JoinSlicesd"]

#: Where the metadata of slices say, as text, which passes through MONAI's collation, how large they are and which are
#: blank.
NOTED_KEY = "noted_slices"
_VOLUME = "volume"


class CutVolumed(MapTransform):
    """Cut a volume into upright slices, in the place of MONAI's channels; inputs read as slices stay as they are.

    A :class:`~ckdmed.data.slice_reader.SliceReader` cuts while it reads. This does the same to a volume from elsewhere,
    such as the `Image` of an application of MONAI Deploy, so that both give a network the same slices. The metadata
    then say how to put them together (:class:`JoinSlicesd`) and, under ``noted_slices``, how large they are and which
    are blank, that is of one value throughout.

    Args:
        keys: images, channel first, as ``MetaTensor``.
        slice_axis: of volumes, see ``SliceReader``: -1 (the last, default), 0, 1, 2, "axial", "coronal", "sagittal".
        allow_missing_keys: see `MapTransform`.

    Shape: volume (C, X, Y, Z), or one slice (C, X, Y), to slices (C * S, rows, columns), float32, those of the first
    channel first.

    Raises:
        ValueError: `slice_axis` is none of these. When called: an image without metadata, of other axes, or with an
            affine that does not say how it is oriented.
    """

    def __init__(self, keys: KeysCollection, slice_axis: int | str = -1, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        if slice_axis not in SLICE_AXES or isinstance(slice_axis, bool):
            raise ValueError(f"slice_axis must be one of {', '.join(map(str, SLICE_AXES))}, got {slice_axis!r}.")
        self.slice_axis = slice_axis

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = d[key]
            if not isinstance(image, MetaTensor):
                raise ValueError(f"'{key}' must be a MetaTensor, whose affine says how it is oriented.")
            d[key] = _noted(image if GEOMETRY_KEY in image.meta else self._cut(image))
        return d

    def _cut(self, image: MetaTensor) -> MetaTensor:
        if image.ndim not in (3, 4):
            raise ValueError(f"a volume is (C, X, Y, Z) and a slice (C, X, Y), got shape {tuple(image.shape)}.")
        affine = np.asarray(image.affine, dtype=np.float64)
        geometry = spatial_geometry(_VOLUME, tuple(image.shape[1:]), affine, self.slice_axis)
        channels = np.asarray(convert_to_numpy(image), dtype=np.float32)
        slices = np.concatenate([geometry.to_slices(channel) for channel in channels])
        meta = {
            **image.meta,
            # the slices' own is in the geometry
            MetaKeys.AFFINE: torch.eye(4, dtype=torch.float64),
            MetaKeys.SPATIAL_SHAPE: np.asarray(slices.shape[1:]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
            GEOMETRY_KEY: geometry.to_text(),
        }
        return MetaTensor(torch.from_numpy(np.ascontiguousarray(slices)), meta=meta)


def _noted(slices: MetaTensor) -> MetaTensor:
    values = slices.as_tensor()
    blank = (values.amax(dim=(1, 2)) == values.amin(dim=(1, 2))).nonzero().flatten()
    slices.meta[NOTED_KEY] = json.dumps({"size": list(values.shape[1:]), "blank": blank.tolist()})
    return slices


class JoinSlicesd(MapTransform):
    """Put the slices of a volume together again that :class:`CutVolumed` cut; those of a reader stay slices.

    Args:
        keys: maps of slices.
        image_key: the image that they were computed from, with its metadata.
        allow_missing_keys: see `MapTransform`.

    Shape: (S, rows, columns) to (1, X, Y, Z), (R, S, rows, columns) to (R, X, Y, Z).
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        geometry = SliceGeometry.from_text(d[self.image_key].meta[GEOMETRY_KEY])
        if geometry.kind != _VOLUME:
            return d
        for key in self.key_iterator(d):
            maps = np.asarray(convert_to_numpy(d[key]))
            regions = maps if maps.ndim == 4 else maps[None]
            joined = np.stack([geometry.to_array(region) for region in regions])
            d[key] = torch.from_numpy(np.ascontiguousarray(joined))
        return d
