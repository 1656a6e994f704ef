"""Intensities of whole cases as the slice cache has them, of scans that still have their skull too."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_data_type, convert_to_dst_type

from ckdmed.transforms.brain_intensity import BrainIntensity
from ckdmed.transforms.brain_mask import brain_mask

__all__ = ["CaseIntensityd"]


class CaseIntensityd(MapTransform):
    """Scale each channel over its brain, 0 outside: :class:`BrainIntensity` of images whose brain has to be found.

    The brain of a case whose release is known is what is not 0, channel by channel, as in the cached slices. Of other
    images it is what :func:`brain_mask` finds, without the voxels where a channel is 0 because its series does not
    reach there. There is no inverse: ``Invertd`` on a prediction is to undo the grid alone.

    Args:
        keys: keys of the images, channel first.
        scaling, clahe: see :class:`BrainIntensity`.
        method: of :func:`brain_mask` where the release is not known: "auto" (default), "nonzero", "tissue".
        release_key: key of the release; absent or "" is not known.
        allow_missing_keys: do not raise if a key is missing.

    Shape:
        ``[C, *S]`` to the same, float32.

    Raises:
        ValueError: see :func:`brain_mask` and :class:`BrainIntensity`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scaling: str = "zscore",
        clahe: bool | str = False,
        method: str = "auto",
        release_key: str = "release",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.method, self.release_key = method, release_key
        self.intensity = BrainIntensity(scaling, clahe)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = d[key]
            plain: torch.Tensor = convert_data_type(image, torch.Tensor, dtype=torch.float32)[0]
            mask = plain != 0
            if not d.get(self.release_key):
                found = brain_mask([np.asarray(channel) for channel in plain], self.method)
                mask = mask & torch.from_numpy(found)
            scaled = self.intensity(plain, mask.to(torch.uint8))
            d[key] = convert_to_dst_type(torch.as_tensor(scaled).as_subclass(torch.Tensor), dst=image)[0]
        return d
