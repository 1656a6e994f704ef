"""Predicted regions as the mask of labels that is written holds them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ckdmed.labels import REGIONS, checked_regions

__all__ = ["NestRegionsd"]

# from the innermost: each lies in the next
_OUTWARDS = ("ET", "TC", "WT")


class NestRegionsd(MapTransform):
    """Masks of regions so that ET lies in TC and TC in WT, by growing the outer ones.

    A network answers each region by itself, and a voxel may be enhancing tumour by its answer and no core. A mask of
    labels has one label for a voxel, which is then that of enhancing tumour, so that it lies in the core as well:
    :meth:`ckdmed.labels.BratsLabels.from_regions`. What is scored, measured and drawn must be what is written.

    Args:
        keys: keys of the masks, 0 and 1.
        regions: what their channels are, some of TC, WT and ET. A region that is no channel is left out.

    Shape:
        ``[len(regions), *S]`` to the same.

    Raises:
        ValueError: other regions, or another number of channels.
    """

    def __init__(self, keys: KeysCollection, regions: Sequence[str] = REGIONS) -> None:
        super().__init__(keys)
        self.regions = checked_regions(regions)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self._nested(d[key])
        return d

    def _nested(self, masks: torch.Tensor) -> torch.Tensor:
        if len(masks) != len(self.regions):
            raise ValueError(
                f"masks of {', '.join(self.regions)} must have one channel per region, got {len(masks)}; give the "
                "regions that the network was trained on (`regions`)."
            )
        nested, inner = masks.clone(), None
        for region in _OUTWARDS:
            if region in self.regions:
                channel = self.regions.index(region)
                if inner is not None:
                    nested[channel] = torch.maximum(nested[channel], inner)
                inner = nested[channel]
        return nested
