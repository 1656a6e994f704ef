"""Grey images for networks that expect three channels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import InvertibleTransform, MapTransform, NormalizeIntensityd, RepeatChannel, RepeatChanneld
from monai.utils import convert_data_type, convert_to_dst_type, convert_to_tensor
from monai.utils.enums import TransformBackends

__all__ = ["GreyToRGB", "GreyToRGBd", "IMAGENET_MEAN", "IMAGENET_STD", "colour_copies"]

# Per-channel statistics of ImageNet's training images in [0, 1], as torchvision's weights expect them:
# NormalizeIntensityd(keys, subtrahend=IMAGENET_MEAN, divisor=IMAGENET_STD, channel_wise=True).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class GreyToRGB(InvertibleTransform):
    """Copy the one channel of an image to three.

    MONAI's ``RepeatChannel(3)`` does the copying; this adds the check that the image is grey (a
    four-modality image would silently become twelve channels) and the inverse.

    The inverse is the mean of the three channels, which is the input itself as long as they are equal. Undo
    a per-channel normalisation first.

    Shape:
        ``[1, *S]`` to ``[3, *S]``, 2D or 3D, type kept.

    Raises:
        ValueError: if the image has not exactly one channel.

    Example::

        GreyToRGB()(image)  # image [1, 224, 224]
    """

    backend = [TransformBackends.TORCH]

    def __init__(self) -> None:
        self.repeat = RepeatChannel(3)

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Copy the channel of a channel-first image."""
        img = convert_to_tensor(img, track_meta=get_track_meta())
        if img.shape[0] != 1:
            raise ValueError(
                f"GreyToRGB expects one channel first, got shape {tuple(img.shape)}; choose a channel or a modality."
            )
        out = self.repeat(img)
        if get_track_meta():
            self.push_transform(out)
        return out

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Merge the three channels of a MetaTensor that this transform returned."""
        self.pop_transform(data)
        x: torch.Tensor = convert_data_type(data, torch.Tensor)[0]
        # Equal channels come back exactly, whatever their type; a mean of equal floats need not.
        out = x[:1] if (x == x[:1]).all() else x.float().mean(0, keepdim=True)
        return convert_to_dst_type(out, dst=data, dtype=out.dtype)[0]


def colour_copies(keys: KeysCollection, scaling: str) -> list[MapTransform]:
    """Steps that copy a scaled grey image to three channels, for a segmentation; nothing is undone by an inverse.

    With the scaling "report", whose mean and deviation are the averages over the three colours of ImageNet, each copy
    gets those of its colour; with another one the copies are equal.

    Args:
        keys: of images of one channel.
        scaling: see :class:`~ckdmed.transforms.SliceIntensity`.

    Shape: (1, *spatial) to (3, *spatial).
    """
    repeat: list[MapTransform] = [RepeatChanneld(keys, repeats=3)]
    if scaling != "report":
        return repeat
    mean, deviation = sum(IMAGENET_MEAN) / 3, sum(IMAGENET_STD) / 3
    shift = [(value - mean) / deviation for value in IMAGENET_MEAN]
    factor = [value / deviation for value in IMAGENET_STD]
    # MONAI takes a list of numbers too, whatever the types in its signature
    colours: dict[str, Any] = {"subtrahend": shift, "divisor": factor}
    return [*repeat, NormalizeIntensityd(keys, **colours, channel_wise=True)]


class GreyToRGBd(MapTransform, InvertibleTransform):
    """Dictionary twin of :class:`GreyToRGB`.

    Args:
        keys: keys of the images.
        allow_missing_keys: do not raise if a key is missing.
    """

    backend = GreyToRGB.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = GreyToRGB()

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key])
        return d

    def inverse(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform.inverse(d[key])
        return d
