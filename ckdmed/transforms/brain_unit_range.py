"""Intensities of the brain to [0, 1]."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import convert_data_type, convert_to_dst_type
from monai.utils.enums import TransformBackends

__all__ = ["BrainUnitRange", "BrainUnitRanged"]


class BrainUnitRange(Transform):
    """Scale each channel so that two percentiles of its brain become 0 and 1, cut off what is beyond, 0 outside.

    ``clip((x - p_low) / (p_high - p_low), 0, 1)``; where the brain is constant, 0.
    MONAI's ``ScaleIntensityRangePercentiles`` takes the percentiles of the whole image, whose background is most of it.

    Args:
        lower, upper: percentiles, 0 <= lower < upper <= 100. Default 0.5 and 99.5.

    Shape:
        ``[C, *S]`` and a mask ``[1, *S]`` (default: values other than 0) to ``[C, *S]``, float32.

    Raises:
        ValueError: if the percentiles are out of range, the mask does not fit, or the image holds NaN or infinite
            values.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, lower: float = 0.5, upper: float = 99.5) -> None:
        if not 0 <= lower < upper <= 100:
            raise ValueError(f"percentiles must be 0 <= lower < upper <= 100, got {lower} and {upper}.")
        self.lower, self.upper = float(lower), float(upper)

    def __call__(self, img: NdarrayOrTensor, mask: NdarrayOrTensor | None = None) -> NdarrayOrTensor:
        """Scale a channel-first image; without a mask, values other than 0 in any channel are the brain."""
        image: np.ndarray = convert_data_type(img, np.ndarray, dtype=np.float32)[0]
        if mask is None:
            brain = (image != 0).any(axis=0, keepdims=True)
        else:
            brain = np.asarray(convert_data_type(mask, np.ndarray)[0]) != 0
        if brain.shape != (1, *image.shape[1:]):
            raise ValueError(f"The mask of shape {brain.shape} does not fit the image of shape {image.shape}.")
        if not np.isfinite(image).all():
            raise ValueError("BrainUnitRange got NaN or infinite values; replace them first.")
        out = np.zeros_like(image)
        for channel, values in zip(out, image, strict=True):
            inside = values[brain[0]]
            low, high = np.percentile(inside, [self.lower, self.upper]) if inside.size else (0.0, 0.0)
            if high > low:
                channel[brain[0]] = np.clip((inside - low) / (high - low), 0, 1)
        return convert_to_dst_type(out, dst=img, dtype=np.float32)[0]


class BrainUnitRanged(MapTransform):
    """Dictionary twin of :class:`BrainUnitRange`.

    Args:
        keys: keys of the images.
        mask_key: key of the brain mask. Default "brain".
        lower, upper: see :class:`BrainUnitRange`.
        allow_missing_keys: do not raise if a key is missing.
    """

    backend = BrainUnitRange.backend

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "brain",
        lower: float = 0.5,
        upper: float = 99.5,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.transform = BrainUnitRange(lower, upper)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key], d[self.mask_key])
        return d
