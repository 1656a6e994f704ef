"""Scans of any field of view at the scale of the volumes that a network was trained on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, SpatialResample

__all__ = ["ScanGridd"]


class ScanGridd(MapTransform, InvertibleTransform):
    """Bring scans to the field of view, and if requested to the spacing, of BraTS; leave BraTS cases as they are.

    A network that knows brains in slices of 240 mm does not know them in slices of 180 or 350 mm resized to the same
    number of pixels. So the first two axes are cut, or filled with 0, around their centre, before anything is resized.
    Cases whose release is known pass unchanged: they come as those of the training did.

    Args:
        keys: keys of the images, channel first, with an affine, turned to the network's orientation.
        field_of_view: millimetres along the first two axes; None (default) leaves them.
        spacing: voxel size along the three axes, None where it stays; or None for all.
        release_key: key of the release; absent or "" is not known.
        allow_missing_keys: do not raise if a key is missing.

    Shape:
        ``[C, X, Y, Z]`` to another ``[C, X, Y, Z]``.

    Raises:
        ValueError: a length that is not positive, or a spacing that is not three numbers.
    """

    def __init__(
        self,
        keys: KeysCollection,
        field_of_view: float | None = None,
        spacing: Sequence[float | None] | None = None,
        release_key: str = "release",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        wanted = [None] * 3 if spacing is None else list(spacing)
        if len(wanted) != 3 or any(v is not None and not v > 0 for v in (*wanted, field_of_view)):
            raise ValueError(
                f"field_of_view must be positive or null, and spacing three such numbers, got {field_of_view!r}, "
                f"{spacing!r}."
            )
        self.spacing, self.field_of_view, self.release_key = wanted, field_of_view, release_key
        # float32 is what grids of a few hundred voxels need; MONAI computes in float64 unless told
        self.resample = SpatialResample(mode="bilinear", padding_mode="zeros", dtype=np.float32)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image: MetaTensor = d[key]
            affine, size = np.asarray(image.affine, dtype=np.float64), tuple(int(n) for n in image.shape[1:])
            if not d.get(self.release_key):
                affine, size = self._target(affine, size)
            # where nothing changes it is noted all the same, so that the inverse finds it
            d[key] = self.resample(image, dst_affine=torch.from_numpy(affine), spatial_size=size)
        return d

    def _target(self, affine: np.ndarray, size: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
        own = np.linalg.norm(affine[:3, :3], axis=0)
        spacing = np.array([mine if new is None else new for new, mine in zip(self.spacing, own, strict=True)])
        extent = own * size
        if self.field_of_view is not None:
            extent[:2] = self.field_of_view
        target = affine.copy()
        target[:3, :3] *= spacing / own
        counts = []
        shift = np.zeros(3)
        for axis in range(3):
            count = max(int(round(extent[axis] / spacing[axis])), 1)
            # index, on the own grid, of the new first voxel: the centres of the two grids coincide
            first = (size[axis] - 1) / 2 - (count - 1) / 2 * spacing[axis] / own[axis]
            if np.isclose(spacing[axis], own[axis]):
                # whole voxels: nothing is interpolated along an axis that is only cut or filled
                first = np.floor(first)
            shift[axis] = first
            counts.append(count)
        target[:3, 3] = affine[:3, 3] + affine[:3, :3] @ shift
        return target, tuple(counts)

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.resample.inverse(d[key])
        return d
