"""From the network's grid back to the slices' own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import convert_to_tensor
from torch.nn import functional

__all__ = ["RestoreSlices", "RestoreSlicesd"]


class RestoreSlices(Transform):
    """Bring maps on the network's grid to the size of the slices that they were computed from.

    The maps are interpolated bilinearly, with smoothing where they shrink; a probability stays in [0, 1]. Where a slice
    was blank (one value throughout, as above and below the head of a skull-stripped volume) the map is set to 0: there
    is nothing that a network could have recognised in it.

    Shape: map (R, h, w, S) and slices (S, H, W) to (R, S, H, W), float32; without the first axis where R is 1.

    Raises:
        ValueError: the map is of another shape than (R, h, w, S), or of another number of slices.
    """

    def __call__(self, img: torch.Tensor, slices: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Restore `img`; `slices` is the image as it was read."""
        maps = convert_to_tensor(img, dtype=torch.float32, track_meta=False)
        own = convert_to_tensor(slices, track_meta=False)
        if maps.ndim != 4 or own.ndim != 3 or maps.shape[-1] != own.shape[0]:
            raise ValueError(
                f"RestoreSlices takes a map (R, h, w, S) and slices (S, H, W), got {tuple(maps.shape)} and "
                f"{tuple(own.shape)}."
            )
        restored = functional.interpolate(
            maps.movedim(-1, 1), size=own.shape[1:], mode="bilinear", align_corners=False, antialias=True
        )
        blank = own.amax(dim=(1, 2)) == own.amin(dim=(1, 2))
        restored[:, blank.to(restored.device)] = 0
        return restored[0] if len(restored) == 1 else restored


class RestoreSlicesd(MapTransform):
    """Dictionary twin of `RestoreSlices`.

    Args:
        keys: maps.
        slices_key: the slices (S, H, W) as they were read.
        allow_missing_keys: see `MapTransform`.
    """

    def __init__(self, keys: KeysCollection, slices_key: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.slices_key = slices_key
        self.restore = RestoreSlices()

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.restore(result[key], result[self.slices_key])
        return result
