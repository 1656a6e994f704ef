"""Slices in the place of channels as a volume of channels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import convert_to_tensor

__all__ = ["SlicesToVolume", "SlicesToVolumed"]


class SlicesToVolume(Transform):
    """Move slices from the first axis to the last, so that a slice inferer finds them there.

    Args:
        channels: C, how many images' slices stand one after another, see
            :class:`~ckdmed.data.slice_reader.SliceReader`.

    Shape: (C * S, H, W) to (C, H, W, S); a ``MetaTensor`` keeps its metadata.

    Raises:
        ValueError: when called, another number of axes, or slices that cannot be dealt to the channels.
    """

    def __init__(self, channels: int = 1) -> None:
        self.channels = channels

    def __call__(self, img: Any) -> torch.Tensor:
        slices = convert_to_tensor(img, track_meta=isinstance(img, MetaTensor))
        if slices.ndim != 3 or len(slices) % self.channels:
            raise ValueError(f"SlicesToVolume takes slices ({self.channels} * S, H, W), got {tuple(slices.shape)}.")
        return slices.unflatten(0, (self.channels, -1)).permute(0, 2, 3, 1)


class SlicesToVolumed(MapTransform):
    """Dictionary twin of `SlicesToVolume`.

    Args:
        keys: slices.
        channels: see `SlicesToVolume`.
        allow_missing_keys: see `MapTransform`.
    """

    def __init__(self, keys: KeysCollection, channels: int = 1, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.to_volume = SlicesToVolume(channels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.to_volume(result[key])
        return result
