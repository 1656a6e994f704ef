"""From the network's grid back to the slices' own."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import convert_to_tensor
from torch.nn import functional

__all__ = ["RestoreSliced", "RestoreSlices", "RestoreSlicesd"]


class RestoreSlices(Transform):
    """Bring maps on the network's grid to the size of the slices that they were computed from.

    The maps are interpolated bilinearly, with smoothing where they shrink; a probability stays in [0, 1]. Where a slice
    was blank (one value throughout, as above and below the head of a skull-stripped volume) the map is set to 0: there
    is nothing that a network could have recognised in it.

    Shape: map (R, h, w, S) to (R, S, H, W), float32; without the first axis where R is 1.

    Raises:
        ValueError: the map is of another shape than (R, h, w, S).
    """

    def __call__(  # type: ignore[override]
        self, img: torch.Tensor, size: Sequence[int], blank: Sequence[int] = ()
    ) -> torch.Tensor:
        """Restore `img` to slices of `size` (H, W), of which those with the numbers `blank` were blank."""
        maps = convert_to_tensor(img, dtype=torch.float32, track_meta=False)
        if maps.ndim != 4:
            raise ValueError(f"RestoreSlices takes a map (R, h, w, S), got {tuple(maps.shape)}.")
        restored = functional.interpolate(
            maps.movedim(-1, 1), size=tuple(size), mode="bilinear", align_corners=False, antialias=True
        )
        restored[:, list(blank)] = 0
        return restored[0] if len(restored) == 1 else restored


class RestoreSlicesd(MapTransform):
    """Dictionary twin of `RestoreSlices`.

    Args:
        keys: maps.
        image_key: the image that they were computed from.
        noted_key: where its metadata hold, as JSON, the `size` of its slices as they were read, and which are `blank`.
        allow_missing_keys: see `MapTransform`.

    Raises:
        ValueError: they do not.
    """

    def __init__(self, keys: KeysCollection, image_key: str, noted_key: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key, self.noted_key = image_key, noted_key
        self.restore = RestoreSlices()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        meta = getattr(result[self.image_key], "meta", {})
        if self.noted_key not in meta:
            raise ValueError(
                f"the metadata of '{self.image_key}' have no '{self.noted_key}', which describes its slices."
            )
        noted = json.loads(meta[self.noted_key])
        for key in self.key_iterator(result):
            slices = result[key].shape[-1]
            # the slices of further images stand behind those of the first, which is the one that is shown
            blank = [number for number in noted["blank"] if number < slices]
            result[key] = self.restore(result[key], noted["size"], blank)
        return result


class RestoreSliced(MapTransform):
    """The same of one slice whose label kept its grid, so that what is scored is what an inference would give.

    Args:
        keys: maps of the slice.
        image_key: the image that they were computed from, on the network's grid; where its first channel has one value
            throughout, the slice was blank.
        like_key: what lies on the slice's own grid.
        allow_missing_keys: see `MapTransform`.

    Shape: map (R, h, w) to (R, H, W).
    """

    def __init__(self, keys: KeysCollection, image_key: str, like_key: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key, self.like_key = image_key, like_key
        self.restore = RestoreSlices()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        first, size = result[self.image_key][0], result[self.like_key].shape[-2:]
        blank = [0] if first.max() == first.min() else []
        for key in self.key_iterator(result):
            restored = self.restore(result[key][..., None], size, blank)
            result[key] = restored if len(result[key]) == 1 else restored[:, 0]
        return result
