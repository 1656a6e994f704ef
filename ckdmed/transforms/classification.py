"""Ready-made chains for classifying one slice: intensities, augmentation, and the input of ImageNet's networks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import Compose, EnsureTyped, MapTransform, RandFlipd, Resized, ScaleIntensityRanged
from monai.utils import convert_to_tensor
from monai.utils.enums import TransformBackends

from ckdmed.transforms.augmentation import AUGMENTATIONS, segmentation_augmentation
from ckdmed.transforms.clahe import CLAHEd
from ckdmed.transforms.eight_bit import EightBitd
from ckdmed.transforms.flip_state import FlipStated
from ckdmed.transforms.grey_to_rgb import IMAGENET_MEAN, IMAGENET_STD
from ckdmed.transforms.slice_intensity import SLICE_SCALINGS, SliceIntensityd, clahe_options

__all__ = [
    "classification_augmentation",
    "classification_scaling",
    "imagenet_input",
    "imagenet_slices",
    "imagenet_statistics",
]

SCALINGS = (*SLICE_SCALINGS, "volume")
LEVELS = AUGMENTATIONS


def classification_scaling(
    scaling: str = "percentiles", image_size: int = 224, keys: Sequence[str] = ("image",), clahe: bool | str = False
) -> Compose:
    """Resize a grey image (1, H, W) and scale it by its own values; of slices (S, H, W), each by its own.

    ===========  ======================================================================================
    scaling      what happens
    ===========  ======================================================================================
    percentiles  resize, then the 0.5th and 99.5th percentile become 0 and 1, clipped. It is last, so every
                 image has the minimum 0 and the maximum 1: the raw range, which tells the Figshare set's
                 gliomas from the rest, is gone
    unit         resize, then minimum and maximum become 0 and 1
    zscore       resize, then mean 0 and standard deviation 1 over all pixels
    report       the stored integers are stretched to 8 bits by minimum and maximum, then resized, then divided by
                 255. One bright pixel sets the range, and averaging leaves each image a maximum of its own
    volume       resize alone: the image was brought to [0, 1] with its whole volume before, so that what a
                 slice has of it still shows
    ===========  ======================================================================================

    Args:
        scaling: see above.
        image_size: edge in pixels.
        keys: of the images.
        clahe: equalise the histogram first, see :class:`~ckdmed.transforms.SliceIntensity`.

    Raises:
        ValueError: unknown scaling or equalisation, or an edge below 8 pixels.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"scaling must be one of {', '.join(SCALINGS)}, got {scaling!r}.")
    if image_size < 8:
        raise ValueError(f"image_size must be at least 8 pixels, got {image_size}.")
    resize = Resized(keys, spatial_size=(image_size, image_size), mode="area")
    typed = EnsureTyped(keys, dtype=torch.float32, track_meta=False)
    options = clahe_options(clahe)
    equalise = [] if options is None else [CLAHEd(keys, **options)]
    if scaling == "report":
        unit = ScaleIntensityRanged(keys, a_min=0.0, a_max=255.0, b_min=0.0, b_max=1.0, clip=True)
        return Compose([*equalise, EightBitd(keys, channel_wise=True), resize, unit, typed])
    if scaling == "volume":
        return Compose([*equalise, resize, typed])
    return Compose([*equalise, resize, SliceIntensityd(keys, scaling), typed])


def classification_augmentation(
    level: str = "flips",
    img_size: int = 224,
    keys: Sequence[str] = ("image",),
    also_flipped: Sequence[str] = (),
) -> Compose:
    """Random transforms of a grey image in [0, 1].

    ========  ======================================================================================
    level     what happens to a sample
    ========  ======================================================================================
    none      nothing
    flips     left and right are exchanged in half of the samples (the reports' training); the key
              ``flips`` tells in which, see `FlipStated`; "horizontal" is the same
    report    the richer set of the weekly report, see `segmentation_augmentation`: flips along both axes,
              rotation, shear, shift, zoom, elastic warp, noise, brightness, contrast
    strong    the same, stronger and more often
    ========  ======================================================================================

    Args:
        level: "none", "horizontal", "flips", "report" or "strong".
        img_size: edge of the images in pixels.
        keys: of the images.
        also_flipped: as in `segmentation_augmentation`.

    Raises:
        ValueError: unknown level; as `segmentation_augmentation`.
    """
    if level not in LEVELS:
        raise ValueError(f"augmentation must be one of {', '.join(LEVELS)}, got {level!r}.")
    if level in ("horizontal", "flips"):
        # upright images: rows first, so the second axis is left to right
        flip = RandFlipd((*keys, *also_flipped), prob=0.5, spatial_axis=1)
        # the batch records which samples were flipped, so that their cached teacher outputs can be found
        return Compose([flip, FlipStated([flip]), EnsureTyped(keys, dtype=torch.float32, track_meta=False)])
    return Compose(
        [segmentation_augmentation(level, keys, img_size=img_size, track_meta=False, also_flipped=also_flipped)]
    )


def imagenet_input(keys: Sequence[str] = ("image",), modalities: int = 1, scaling: str = "percentiles") -> Compose:
    """Make of scaled images what networks that were trained on ImageNet expect.

    A grey image is copied to three channels, which are standardised with ImageNet's mean and deviation; several
    modalities stay as they are, and each is standardised with the means of these, as the weights of a first layer that
    is adapted to so many channels expect it. Z-scores are standardised already and stay.

    Args:
        keys: of the images.
        modalities: channels of the image, 1 or more.
        scaling: how the image was scaled, see :func:`classification_scaling`.

    Shape: (1, H, W) to (3, H, W); (C, H, W) with C > 1 to (C, H, W). Plain float32 tensors.

    Raises:
        ValueError: less than one modality; when called, an image of another number of channels.
    """
    return Compose([_ImageNetInputd(keys, modalities, scaling)])


class _ImageNetInputd(MapTransform):
    # NormalizeIntensityd does the same channel by channel, in more time than a step of a small student takes.

    backend = [TransformBackends.TORCH]

    def __init__(self, keys: KeysCollection, modalities: int, scaling: str) -> None:
        super().__init__(keys)
        statistics = imagenet_statistics(modalities, scaling)
        self.modalities = modalities
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in statistics)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = convert_to_tensor(d[key], dtype=torch.float32, track_meta=False)
            if image.shape[0] != self.modalities:
                wanted = "one channel" if self.modalities == 1 else f"{self.modalities} channels"
                raise ValueError(
                    f"'{key}' must have {wanted} first, got shape {tuple(image.shape)}; choose a channel or a modality."
                )
            d[key] = (image - self.mean) / self.std
        return d


def imagenet_slices(slices: torch.Tensor, modalities: int = 1, scaling: str = "percentiles") -> torch.Tensor:
    """The same for the slices of one input at a time: (S, H, W) to (S, 3, H, W), (S * C, H, W) to (S, C, H, W)."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in imagenet_statistics(modalities, scaling))
    return (torch.as_tensor(slices).float().unflatten(0, (-1, modalities)) - mean) / std


def imagenet_statistics(modalities: int, scaling: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel of `imagenet_input`, three of one modality.

    Raises:
        ValueError: less than one modality.
    """
    if modalities < 1:
        raise ValueError(f"at least one modality is needed, got {modalities}.")
    if scaling == "zscore":
        channels = 3 if modalities == 1 else modalities
        return (0.0,) * channels, (1.0,) * channels
    if modalities == 1:
        return IMAGENET_MEAN, IMAGENET_STD
    return (sum(IMAGENET_MEAN) / 3,) * modalities, (sum(IMAGENET_STD) / 3,) * modalities
