"""Masks of cases of several releases to channels of regions, where a mask may be absent or not to be used."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

from ckdmed.labels import REGIONS
from ckdmed.transforms.brats_regions import BratsLabelsToRegions

__all__ = ["CaseLabelsToRegionsd"]


class CaseLabelsToRegionsd(MapTransform):
    """Mask of labels to one channel of 0 and 1 per region, by the label table that each case names.

    Where a case has no mask, or says that it is not to be used, the channels are 0: a batch holds an array for every
    case, and whether it means anything stands under ``labelled_key``.

    Args:
        keys: keys of the masks.
        regions: see :class:`BratsLabelsToRegions`.
        image_key: key of the image, on whose grid an absent mask is made.
        release_key, type_key: keys of the release and of the tumour type.
        labelled_key: key that says whether the mask may be used; absent means yes.

    Shape:
        ``[1, *S]`` to ``[len(regions), *S]``, float32.

    Raises:
        ValueError: see :class:`BratsLabelsToRegions`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        regions: Sequence[str] = REGIONS,
        image_key: str = "image",
        release_key: str = "release",
        type_key: str = "tumour_type",
        labelled_key: str = "labelled",
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.regions = tuple(regions)
        self.image_key, self.labelled_key = image_key, labelled_key
        self.release_key, self.type_key = release_key, type_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.keys:
            if key in d and bool(d.get(self.labelled_key, True)):
                d[key] = BratsLabelsToRegions(d[self.release_key], d[self.type_key], self.regions)(d[key])
            else:
                image = d[self.image_key]
                # with the image's place in space, so that what turns the one turns the other
                d[key] = convert_to_dst_type(torch.zeros((len(self.regions), *image.shape[1:])), dst=image)[0]
        return d
