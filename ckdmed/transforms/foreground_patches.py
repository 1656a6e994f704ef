"""Patches of a volume of which a share is centred on tumour and the rest is taken anywhere."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, RandSpatialCropSamplesd
from monai.transforms.traits import MultiSampleTrait

from ckdmed.transforms.region_patches import RegionPatchesd

__all__ = ["ForegroundPatchesd"]


class ForegroundPatchesd(Randomizable, MapTransform, MultiSampleTrait):
    """Take patches as nnU-Net does: a share centred on a voxel of the label, the others at any place.

    Of n patches n - round(n (1 - share)) are centred on the label, the last ones; where that is none, as of one patch,
    one is by chance, with the probability n share. A volume without label gives patches from any place.

    Args:
        keys: of images and label, of one grid.
        label_key: of the label; voxels above 0 in any channel count.
        roi_size: edges of a patch in voxels; volumes are as large at least.
        num_samples: n.
        share: in (0, 1].

    Shape: (C, *spatial) to n items of (C, *roi_size).

    Source: the rule is that of nnU-Net's loader, Isensee et al. 2021 (Nature Methods 18).
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str,
        roi_size: Sequence[int],
        num_samples: int = 1,
        share: float = 0.33,
    ) -> None:
        MapTransform.__init__(self, keys)
        if not 0 < share <= 1:
            raise ValueError(f"the share of patches on tumour must be above 0, up to 1, got {share}.")
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}.")
        self.label_key, self.num_samples, self.share = label_key, num_samples, share
        self.forced = 0
        self.on_label = RegionPatchesd(keys, label_key, roi_size, pos=1, neg=0, num_samples=1)
        self.anywhere = RandSpatialCropSamplesd(keys, roi_size, num_samples=1, random_size=False)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> ForegroundPatchesd:
        """Of both ways to take a patch too."""
        super().set_random_state(seed, state)
        self.on_label.set_random_state(state=self.R)
        self.anywhere.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw how many patches are centred on the label."""
        forced = self.num_samples - round(self.num_samples * (1 - self.share))
        self.forced = forced or int(self.R.random_sample() < self.num_samples * self.share)

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        self.randomize()
        forced = self.forced if bool(torch.as_tensor(data[self.label_key] > 0).any()) else 0
        ways = [self.anywhere] * (self.num_samples - forced) + [self.on_label] * forced
        return [patch for way in ways for patch in way(data)]
