"""Ready-made chains of MONAI's random transforms for images with masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from monai.transforms import (
    Compose,
    EnsureTyped,
    Identityd,
    MapTransform,
    OneOf,
    Rand2DElasticd,
    Rand3DElasticd,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandScaleIntensityd,
)

from ckdmed.transforms.flip_state import FlipStated

__all__ = ["segmentation_augmentation"]


class _Strength(NamedTuple):
    affine: float  # share of samples that get rotation, shear, shift and zoom
    elastic: float  # share that get these and an elastic warp
    rotate: float  # radians
    shear: float
    shift: float  # share of the image size
    zoom: float
    warp: float  # shift of the control points in 2D, share of the image size
    intensity: float  # probability of each intensity change
    noise: float  # largest standard deviation
    brightness: float
    gamma: tuple[float, float]


_STRENGTHS = {
    "report": _Strength(0.5, 0.2, 0.26, 0.1, 0.06, 0.1, 0.02, 0.3, 0.05, 0.2, (0.7, 1.5)),
    "strong": _Strength(0.5, 0.4, 0.52, 0.2, 0.1, 0.25, 0.04, 0.5, 0.1, 0.4, (0.5, 2.0)),
}
AUGMENTATIONS = ("none", "horizontal", "flips", *_STRENGTHS)


def segmentation_augmentation(
    level: str = "flips",
    keys: Sequence[str] = ("image", "label"),
    spatial_dims: int = 2,
    img_size: int = 128,
    track_meta: bool = True,
    allow_missing_keys: bool = False,
    soft_masks: bool = False,
    also_flipped: Sequence[str] = (),
) -> Compose:
    """Random transforms that act alike on an image and its masks.

    ==========  ====================================================================================
    level       what happens to a sample
    ==========  ====================================================================================
    none        nothing
    horizontal  left and right are exchanged in half of the samples: the columns of an image, the first
                axis of a volume; ``flips`` as below
    flips       each spatial axis is flipped in half of the samples; the key ``flips`` tells which were
                (see :class:`FlipStated`)
    report      flips; in 50 % a rotation up to 15 degrees, shear 0.1, shift 6 %, zoom 10 %, in another
                20 % these and an elastic warp; each in 30 %: Gaussian noise (standard deviation up to
                0.05), brightness (times 0.8 to 1.2), contrast (gamma 0.7 to 1.5)
    strong      as report with 50 % and 40 %, 30 degrees, shear 0.2, shift 10 %, zoom 25 %, twice the
                warp; intensity in 50 %: noise up to 0.1, brightness 0.6 to 1.4, gamma 0.5 to 2
    ==========  ====================================================================================

    Rotation, shear, shift, zoom and warp are one resampling, so nothing is blurred twice and each costs
    only once. Images are resampled linearly, masks by the nearest voxel; what comes in from outside repeats
    the image's border and is 0 in masks. At every level images leave as float32 and masks as uint8.
    Noise and brightness suppose intensities of about unit scale: [0, 1] or z-scores.

    Seed it like any MONAI chain (``set_determinism`` or ``set_random_state``).

    Args:
        level: ``"none"``, ``"horizontal"``, ``"flips"`` (default), ``"report"`` or ``"strong"``.
        keys: the image first, then its masks (none, one or several), channel first.
        spatial_dims: 2 (default) or 3.
        img_size: edge of the images in pixels, to which shifts and the warp are relative. Default 128.
        track_meta: False ends the chain with plain tensors, sparing later steps the bookkeeping of
            MetaTensors. Default True.
        allow_missing_keys: do not raise where a key is missing, as for unlabelled images.
        soft_masks: masks hold probabilities and leave as float32.
        also_flipped: keys of further images, of any size, which are flipped along; with levels that flip at most.

    Returns:
        A ``Compose``, to stand in a chain after loading and resizing.

    Raises:
        ValueError: if ``level`` is unknown, ``keys`` is empty or one string, ``spatial_dims`` is neither 2 nor 3, or
            ``img_size`` is below 8; if there is ``also_flipped`` at another level.

    Example, in a bundle's config::

        {"_target_": "ckdmed.transforms.segmentation_augmentation", "level": "report", "img_size": 128}
    """
    if level not in AUGMENTATIONS:
        raise ValueError(f"level must be one of {', '.join(AUGMENTATIONS)}, got {level!r}.")
    if isinstance(keys, str) or not keys:
        raise ValueError(f"keys must be a sequence, the image first, then its masks, got {keys!r}.")
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
    if img_size < 8:
        raise ValueError(f"img_size must be at least 8 pixels, got {img_size}.")
    if also_flipped and level in _STRENGTHS:
        raise ValueError(f"level '{level}' changes images of one size; {', '.join(also_flipped)} can be flipped alone.")
    missing: dict[str, Any] = {"allow_missing_keys": allow_missing_keys}
    image, masks = keys[:1], keys[1:]
    mask_type = torch.float32 if soft_masks else torch.uint8
    types = EnsureTyped(keys, dtype=(torch.float32, *[mask_type] * len(masks)), track_meta=track_meta, **missing)
    if level == "none":
        return Compose([types])
    # rows of an image come first; the volumes' first axis runs from left to right
    axes = range(spatial_dims) if level != "horizontal" else [1 if spatial_dims == 2 else 0]
    flips = [RandFlipd((*keys, *also_flipped), prob=0.5, spatial_axis=axis, **missing) for axis in axes]
    if level in ("horizontal", "flips"):
        # the batch records how a sample was flipped, so that its cached teacher outputs can be found
        return Compose([*flips, FlipStated(flips), types])
    s = _STRENGTHS[level]
    chain = [
        *flips,
        _one_resampling(s, keys, spatial_dims, img_size, missing),
        RandAdjustContrastd(image, prob=s.intensity, gamma=s.gamma, **missing),
        RandScaleIntensityd(image, prob=s.intensity, factors=s.brightness, **missing),
        RandGaussianNoised(image, prob=s.intensity, std=s.noise, **missing),
        types,
    ]
    return Compose(chain)


def _one_resampling(
    s: _Strength, keys: Sequence[str], spatial_dims: int, img_size: int, missing: dict[str, Any]
) -> OneOf:
    n_masks = len(keys) - 1
    shared: dict[str, Any] = {
        "prob": 1.0,
        # In 2D there is one angle; a second one would be ignored.
        "rotate_range": (s.rotate,) * (1 if spatial_dims == 2 else 3),
        "shear_range": (s.shear,) * (2 if spatial_dims == 2 else 6),
        "translate_range": (s.shift * img_size,) * spatial_dims,
        "scale_range": (s.zoom,) * spatial_dims,
        "mode": ("bilinear", *["nearest"] * n_masks),
        "padding_mode": ("border", *["zeros"] * n_masks),
        **missing,
    }
    elastic: MapTransform
    if spatial_dims == 2:
        # Control points a sixth of the image apart that move by far less cannot fold it.
        warp = (0.25 * s.warp * img_size, s.warp * img_size)
        elastic = Rand2DElasticd(keys, spacing=(img_size / 6,) * 2, magnitude_range=warp, **shared)
    else:
        # Uniform offsets up to m, smoothed by sigma, have a standard deviation of 0.09 m / sigma^1.5 voxels; it is
        # made half of the bound in 2D.
        sigma = img_size / 20
        voxels = 0.5 * s.warp * img_size / 0.09 * sigma**1.5
        elastic = Rand3DElasticd(
            keys, sigma_range=(sigma, 1.2 * sigma), magnitude_range=(0.25 * voxels, voxels), **shared
        )
    return OneOf(
        [RandAffined(keys, **shared), elastic, Identityd(keys, **missing)],
        weights=(s.affine, s.elastic, 1 - s.affine - s.elastic),
    )
