"""How the intensities of a slice are scaled: one part for training, evaluation and inference."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, NormalizeIntensity, ScaleIntensity, ScaleIntensityRangePercentiles, Transform
from monai.utils.enums import TransformBackends

from ckdmed.tile_equalisation import EQUALISATIONS
from ckdmed.transforms.clahe import CLAHE
from ckdmed.transforms.grey_to_rgb import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["SliceIntensity", "SliceIntensityd"]

SLICE_SCALINGS = ("percentiles", "unit", "zscore", "report")


class SliceIntensity(Transform):
    """Scale each channel of an image by its own values.

    ===========  ======================================================================================
    scaling      what a channel becomes
    ===========  ======================================================================================
    percentiles  the 0.5th and 99.5th percentile become 0 and 1; what is beyond them is clipped. Where both are one
                 value, as of a slice that shows next to nothing, its difference from that, clipped alike
    unit         minimum and maximum become 0 and 1
    zscore       mean 0 and standard deviation 1 over all pixels; a constant one becomes 0
    report       stretched to the whole numbers 0 to 255, divided by 255, then ImageNet's mean (0.449) is
                 subtracted and its standard deviation (0.226) divided by: the reports' input. Those are
                 the averages over the three colours, which are equal here
    ===========  ======================================================================================

    It has no inverse on purpose: a mask is brought back to another grid, never to other intensities.

    Args:
        scaling: see above.
        clahe: equalise the histogram before it: True for CLAHE with clip limit 0.01 and 8 x 8 tiles, "global" for the
            histogram of the whole image, False (default) for neither.

    Shape: (C, H, W) to the same, float32.

    Raises:
        ValueError: another word; as the transforms that it is made of.
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, scaling: str = "percentiles", clahe: bool | str = False) -> None:
        if scaling not in SLICE_SCALINGS:
            raise ValueError(f"scaling must be one of {', '.join(SLICE_SCALINGS)}, got {scaling!r}.")
        self.scaling, self.clahe = scaling, clahe
        options = clahe_options(clahe)
        equalise = [] if options is None else [CLAHE(**options)]
        self.steps: list[Transform] = [*equalise, *_scaling(scaling)]

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Scale a channel-first image."""
        if self.scaling == "zscore":
            # MONAI's NormalizeIntensity writes into what it is given
            img = img.clone() if isinstance(img, torch.Tensor) else img.copy()
        for step in self.steps:
            img = step(img)
        if self.scaling == "percentiles":
            # MONAI clips nothing where both percentiles are one value: raw intensities would reach the network
            return torch.as_tensor(img).clamp(0, 1)
        if self.scaling == "report":
            img = (torch.as_tensor(img).round() / 255 - sum(IMAGENET_MEAN) / 3) / (sum(IMAGENET_STD) / 3)
        return img


def clahe_options(clahe: bool | str) -> dict[str, Any] | None:
    """What a value of the switch makes of :class:`CLAHE`; None for False.

    Raises:
        ValueError: none of the values.
    """
    if clahe is False:
        return None
    if clahe not in EQUALISATIONS:
        raise ValueError(f"clahe must be true, false or 'global', got {clahe!r}.")
    clip_limit, tile_grid = EQUALISATIONS[clahe]
    return {"clip_limit": clip_limit, "tile_grid": tile_grid}


def _scaling(scaling: str) -> list[Transform]:
    if scaling == "percentiles":
        return [ScaleIntensityRangePercentiles(0.5, 99.5, 0.0, 1.0, clip=True, channel_wise=True)]
    if scaling == "unit":
        return [ScaleIntensity(minv=0.0, maxv=1.0, channel_wise=True)]
    if scaling == "zscore":
        return [NormalizeIntensity(channel_wise=True)]
    return [ScaleIntensity(minv=0.0, maxv=255.0, channel_wise=True)]


class SliceIntensityd(MapTransform):
    """Dictionary twin of :class:`SliceIntensity`.

    Args:
        keys: of the images.
        scaling, clahe: see there.
        allow_missing_keys: do not raise if a key is missing.
    """

    backend = SliceIntensity.backend

    def __init__(
        self,
        keys: KeysCollection,
        scaling: str = "percentiles",
        clahe: bool | str = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = SliceIntensity(scaling, clahe)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key])
        return d
