"""Eight-bit rescaling of an image by its own minimum and maximum."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import DtypeLike, KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys, convert_data_type, convert_to_dst_type, convert_to_tensor
from monai.utils.enums import TransformBackends

__all__ = ["EightBit", "EightBitd"]


class EightBit(InvertibleTransform):
    """Stretch an image from its minimum and maximum to the whole numbers 0..255.

    ``round(255 * (x - min) / (max - min))``; a constant image becomes 0. This is the literal preprocessing
    of stored MRI integers for networks that were trained on photographs. It loses what lies between two
    steps and depends on the brightest pixel: for new work prefer MONAI's
    ``ScaleIntensityRangePercentilesd(lower=1, upper=99, b_min=0, b_max=1, clip=True)``. MONAI's
    ``ScaleIntensityd(minv=0, maxv=255)`` neither rounds nor remembers the range.

    The ImageNet chain on grey images, each step one transform::

        EightBitd("image"), GreyToRGBd("image"),
        ScaleIntensityRanged("image", a_min=0, a_max=255, b_min=0, b_max=1),
        NormalizeIntensityd("image", subtrahend=IMAGENET_MEAN, divisor=IMAGENET_STD, channel_wise=True)

    Args:
        channel_wise: own minimum and maximum for each channel. Default False: one pair per image.
        dtype: type of the result, whose values are whole either way. Default ``numpy.uint8``: a quarter of
            the memory in a cache; MONAI's resampling and normalisation turn it into float32.

    The inverse restores the values up to half a step, ``(max - min) / 510``, as float32.

    Shape:
        ``[C, *S]`` to the same, 2D or 3D.

    Raises:
        ValueError: if the image holds NaN or infinite values.

    Example::

        EightBit()(image)  # image [1, 512, 512], int16
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, channel_wise: bool = False, dtype: DtypeLike | torch.dtype = np.uint8) -> None:
        self.channel_wise = channel_wise
        self.dtype = dtype

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Rescale a channel-first image."""
        img = convert_to_tensor(img, track_meta=get_track_meta())
        # float64 keeps 32-bit integers exact.
        x: torch.Tensor = convert_data_type(img, torch.Tensor, dtype=torch.float64)[0]
        if not torch.isfinite(x).all():
            raise ValueError("EightBit got NaN or infinite values; replace them first, for example by nan_to_num.")
        rows = x.reshape(len(x), -1) if self.channel_wise else x.reshape(1, -1)
        low, high = rows.amin(1), rows.amax(1)
        span = torch.where(high > low, high - low, torch.ones_like(high))
        column = (-1,) + (1,) * (x.ndim - 1)
        out = torch.round(255 * (x - low.reshape(column)) / span.reshape(column))
        result = convert_to_dst_type(out, dst=img, dtype=self.dtype)[0]
        if get_track_meta():
            self.push_transform(result, extra_info={"low": low.tolist(), "high": high.tolist()})
        return result

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Undo the rescaling of a MetaTensor that this transform returned."""
        info = self.pop_transform(data)[TraceKeys.EXTRA_INFO]
        x: torch.Tensor = convert_data_type(data, torch.Tensor, dtype=torch.float64)[0]
        column = (-1,) + (1,) * (x.ndim - 1)
        low, high = (
            torch.as_tensor(info[k], dtype=torch.float64, device=x.device).reshape(column) for k in ("low", "high")
        )
        return convert_to_dst_type(low + x * (high - low) / 255, dst=data, dtype=torch.float32)[0]


class EightBitd(MapTransform, InvertibleTransform):
    """Dictionary twin of :class:`EightBit`.

    Args:
        keys: keys of the images.
        channel_wise, dtype: see :class:`EightBit`.
        allow_missing_keys: do not raise if a key is missing.
    """

    backend = EightBit.backend

    def __init__(
        self,
        keys: KeysCollection,
        channel_wise: bool = False,
        dtype: DtypeLike | torch.dtype = np.uint8,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = EightBit(channel_wise, dtype)

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
