"""Z-score over the brain, with the mask chosen openly and an inverse."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys, convert_data_type, convert_to_dst_type, convert_to_tensor
from monai.utils.enums import TransformBackends
from skimage.filters import threshold_otsu

__all__ = ["BrainZScore", "BrainZScored"]

_MASKS = ("nonzero", "positive", "otsu")


class BrainZScore(InvertibleTransform):
    """Subtract the mean of the brain and divide by its standard deviation: ``(x - mean) / std``.

    Unlike MONAI's ``NormalizeIntensity(nonzero=True)`` it says which voxels are the brain, sets the rest to
    a value of choice, and can be undone.

    Args:
        mask: where the brain is, when the call gives no mask. ``"nonzero"`` (default): values other than 0,
            right for skull-stripped images; some of these hold negative values inside the brain, which
            count. ``"positive"``: values above 0; drops the negative ones. ``"otsu"``: values above Otsu's
            threshold of the channel, for images whose background is not 0 (it finds the bright tissue
            of the head, not the brain alone).
        background: value outside the mask, default 0 (the brain's mean). ``None``: the outside is
            scaled like the brain.
        channel_wise: one mean and standard deviation per channel (default), else one pair for all of them.
            Each channel has its own mask either way, unless a one-channel mask is given.

    Degenerate brains give no NaN: a standard deviation of 0 counts as 1, so the brain becomes 0; an
    empty mask warns and counts as mean 0 and standard deviation 1, so the channel becomes ``background``,
    or is unchanged for ``None``.

    Inverse: ``x * std + mean`` where ``x`` differs from ``background``, 0 elsewhere (for ``background=None``:
    everywhere). To keep the two apart, a brain voxel that would land on ``background`` is moved off it by a
    millionth. The inverse is exact up to float32 for ``"nonzero"`` and for ``background=None``; for other
    masks what was outside comes back as 0.

    Shape:
        ``[C, *S]`` to the same, float32, 2D or 3D.

    Raises:
        ValueError: if ``mask`` is unknown; if the given mask fits neither ``[*S]``, ``[1, *S]`` nor
            ``[C, *S]``; if the image holds NaN or infinite values.

    Example::

        BrainZScore()(image)                    # image [4, 240, 240, 155], skull-stripped
        BrainZScore(background=None)(image, mask=brain)
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, mask: str = "nonzero", background: float | None = 0.0, channel_wise: bool = True) -> None:
        if mask not in _MASKS:
            raise ValueError(f"mask must be one of {', '.join(_MASKS)}, got {mask!r}.")
        self.mask = mask
        self.background = None if background is None else float(background)
        self.channel_wise = channel_wise

    def __call__(self, img: NdarrayOrTensor, mask: NdarrayOrTensor | None = None) -> NdarrayOrTensor:
        """Normalise a channel-first image; ``mask`` (nonzero is brain) goes before the setting of the class."""
        img = convert_to_tensor(img, track_meta=get_track_meta())
        x: torch.Tensor = convert_data_type(img, torch.Tensor, dtype=torch.float32)[0]
        if not torch.isfinite(x).all():
            raise ValueError("BrainZScore got NaN or infinite values; replace them first, for example by nan_to_num.")
        brain = self._find(x) if mask is None else self._given(mask, x)
        pairs = self._statistics(x, brain)
        column = (-1,) + (1,) * (x.ndim - 1)
        mean, std = (torch.tensor(v, dtype=torch.float32, device=x.device).reshape(column) for v in zip(*pairs))
        out = (x - mean) / std
        if self.background is not None:
            off = self.background + 1e-6 * max(1.0, abs(self.background))
            out = torch.where(out == self.background, off, out)
            out = torch.where(brain, out, self.background)
        result = convert_to_dst_type(out, dst=img, dtype=torch.float32)[0]
        if get_track_meta():
            self.push_transform(result, extra_info={"mean": mean.flatten().tolist(), "std": std.flatten().tolist()})
        return result

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Undo the normalisation of a MetaTensor that this transform returned."""
        info = self.pop_transform(data)[TraceKeys.EXTRA_INFO]
        x: torch.Tensor = convert_data_type(data, torch.Tensor, dtype=torch.float32)[0]
        column = (-1,) + (1,) * (x.ndim - 1)
        mean, std = (torch.as_tensor(info[k], dtype=torch.float32, device=x.device) for k in ("mean", "std"))
        out = x * std.reshape(column) + mean.reshape(column)
        if self.background is not None:
            out = torch.where(x == self.background, 0.0, out)
        return convert_to_dst_type(out, dst=data, dtype=torch.float32)[0]

    def _find(self, x: torch.Tensor) -> torch.Tensor:
        if self.mask == "nonzero":
            return x != 0
        if self.mask == "positive":
            return x > 0
        # Otsu has no threshold for a constant channel; it has no brain either.
        return torch.stack([c > (threshold_otsu(c.cpu().numpy()) if c.min() < c.max() else torch.inf) for c in x])

    @staticmethod
    def _given(mask: NdarrayOrTensor, x: torch.Tensor) -> torch.Tensor:
        brain: torch.Tensor = convert_data_type(mask, torch.Tensor, device=x.device)[0] != 0
        if brain.ndim == x.ndim - 1:
            brain = brain[None]
        if brain.shape[1:] != x.shape[1:] or brain.shape[0] not in (1, x.shape[0]):
            raise ValueError(f"The mask of shape {tuple(mask.shape)} does not fit the image of shape {tuple(x.shape)}.")
        return brain.expand_as(x)

    def _statistics(self, x: torch.Tensor, brain: torch.Tensor) -> list[tuple[float, float]]:
        if not self.channel_wise:
            return [self._mean_std(x[brain], "the image")] * len(x)
        return [self._mean_std(c[b], f"channel {i}") for i, (c, b) in enumerate(zip(x, brain))]

    @staticmethod
    def _mean_std(values: torch.Tensor, where: str) -> tuple[float, float]:
        if values.numel() == 0:
            warnings.warn(f"BrainZScore found no brain voxel in {where}; it is not normalised.", stacklevel=4)
            return 0.0, 1.0
        exact = values.cpu().numpy().astype(np.float64)
        # Rounding leaves a spurious spread on a constant; ask for equality rather than for a small one.
        return float(exact.mean()), float(exact.std()) if exact.min() < exact.max() else 1.0


class BrainZScored(MapTransform, InvertibleTransform):
    """Dictionary twin of :class:`BrainZScore`.

    Args:
        keys: keys of the images.
        mask, background, channel_wise: see :class:`BrainZScore`.
        mask_key: key of a brain mask for all images, which goes before ``mask``. Default: none.
        allow_missing_keys: do not raise if a key is missing.

    Raises:
        KeyError: if ``mask_key`` is set and the data lack it.
    """

    backend = BrainZScore.backend

    def __init__(
        self,
        keys: KeysCollection,
        mask: str = "nonzero",
        background: float | None = 0.0,
        channel_wise: bool = True,
        mask_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.transform = BrainZScore(mask, background, channel_wise)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        brain = None
        if self.mask_key is not None:
            if self.mask_key not in d:
                raise KeyError(f"BrainZScored needs the mask under the key {self.mask_key!r}; the data have {list(d)}.")
            brain = d[self.mask_key]
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key], brain)
        return d

    def inverse(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform.inverse(d[key])
        return d
