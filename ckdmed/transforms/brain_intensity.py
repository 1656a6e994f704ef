"""How the intensities of a volume are scaled over its brain: one part for training, evaluation and inference."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import convert_data_type, convert_to_dst_type
from monai.utils.enums import TransformBackends

from ckdmed.transforms.brain_unit_range import BrainUnitRange
from ckdmed.transforms.brain_zscore import BrainZScore
from ckdmed.transforms.clahe import CLAHE
from ckdmed.transforms.grey_to_rgb import IMAGENET_MEAN, IMAGENET_STD
from ckdmed.transforms.slice_intensity import clahe_options

__all__ = ["BRAIN_SCALINGS", "BrainIntensity", "BrainIntensityd"]

BRAIN_SCALINGS = ("zscore", "percentiles", "unit", "report")
# the brain's darkest voxels, apart from the background
_NOT_BACKGROUND = 1e-6


class BrainIntensity(Transform):
    """Scale each channel of a volume by the values of its brain; what is outside becomes 0.

    The words are those of :class:`SliceIntensity`, which takes the background in; most of a skull-stripped volume is
    background.

    ===========  ======================================================================================
    scaling      what the brain becomes
    ===========  ======================================================================================
    zscore       mean 0 and standard deviation 1, see :class:`BrainZScore`
    percentiles  its 0.5th and 99.5th percentile become 0 and 1; what is beyond them is clipped
    unit         its minimum and maximum become 0 and 1
    report       stretched to the whole numbers 0 to 255, divided by 255, then ImageNet's mean (0.449) is
                 subtracted and its standard deviation (0.226) divided by: the reports' input
    ===========  ======================================================================================

    A voxel of the brain that would become 0 becomes 0.000001, so that the brain can be told from the background
    afterwards. A constant brain counts as its own lower end. There is no inverse on purpose: a mask is brought back to
    another grid, never to other intensities.

    Args:
        scaling: see above.
        clahe: equalise the histogram of each slice along the last axis before it, see :class:`SliceIntensity`; outside
            the brain counts as 0 there.

    Shape: ``[C, H, W, D]`` to the same, float32; without ``clahe`` any number of spatial axes.

    Raises:
        ValueError: another word; when called, NaN or infinite values, as the transforms that it is made of.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, scaling: str = "zscore", clahe: bool | str = False) -> None:
        if scaling not in BRAIN_SCALINGS:
            raise ValueError(f"scaling must be one of {', '.join(BRAIN_SCALINGS)}, got {scaling!r}.")
        self.scaling, self.clahe = scaling, clahe
        options = clahe_options(clahe)
        self.equalise = None if options is None else CLAHE(**options)
        self.zscore = BrainZScore()
        self.range = BrainUnitRange() if scaling == "percentiles" else BrainUnitRange(0, 100)

    def __call__(self, img: NdarrayOrTensor, mask: NdarrayOrTensor | None = None) -> NdarrayOrTensor:
        """Scale a channel-first volume; ``mask`` is its brain (nonzero), of each channel, else what is not 0."""
        plain: torch.Tensor = convert_data_type(img, torch.Tensor, dtype=torch.float32)[0]
        x = plain.as_subclass(torch.Tensor)  # type: ignore[arg-type]
        brain = x != 0 if mask is None else torch.as_tensor(mask) != 0
        if self.equalise is not None:
            x = torch.as_tensor(self.equalise(torch.where(brain, x, 0.0))).as_subclass(torch.Tensor)
        if self.scaling == "zscore":
            out = torch.as_tensor(self.zscore(x, brain.to(torch.uint8)))
        else:
            parts = zip(x, brain, strict=True)
            out = torch.cat([torch.as_tensor(self.range(c[None], b[None])) for c, b in parts])
            if self.scaling == "report":
                out = ((255 * out).round() / 255 - sum(IMAGENET_MEAN) / 3) / (sum(IMAGENET_STD) / 3)
            out = torch.where(brain, torch.where(out == 0, _NOT_BACKGROUND, out), 0.0)
        return convert_to_dst_type(out.as_subclass(torch.Tensor), dst=img, dtype=torch.float32)[0]


class BrainIntensityd(MapTransform):
    """Dictionary twin of :class:`BrainIntensity`.

    Args:
        keys: of the images.
        scaling, clahe: see there.
        allow_missing_keys: do not raise if a key is missing.
    """

    backend = BrainIntensity.backend

    def __init__(
        self,
        keys: KeysCollection,
        scaling: str = "zscore",
        clahe: bool | str = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = BrainIntensity(scaling, clahe)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key])
        return d
