"""Segmentation teachers of several architectures as one function of settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ckdmed.networks.cohra_unet import CohraUNet
from ckdmed.networks.efficientnet_lite import DECODER_TAPS, EfficientNetLiteUNet
from ckdmed.networks.kinds import check_kind
from ckdmed.networks.padded import AnySizeDynUNet, AnySizeSegResNet, AnySizeSwinUNETR
from ckdmed.networks.unet_vit import UNetViT

__all__ = ["SEGMENTATION_TEACHERS", "segmentation_teacher", "segmentation_teacher_taps", "usual_base"]

_LEVELS = 5
# Decoder stages by the student's names for those of the same grid: d4 an eighth of the image, d1 the whole.
_TAPS = {
    "unet_vit": {f"d{i}": f"unet.decoder.d{i}" for i in (4, 3, 2, 1)},
    "segresnet": {"d4": "down_layers.3", "d3": "up_layers.0", "d2": "up_layers.1", "d1": "up_layers.2"},
    "dynunet": {f"d{4 - i}": f"upsamples.{i}" for i in range(4)},
    "swin_unetr": {f"d{i}": f"decoder{i}" for i in (4, 3, 2, 1)},
    "cohra": {f"d{i}": f"decoder.d{i}" for i in (4, 3, 2, 1)},
    "efficientnet_lite": DECODER_TAPS,
}
SEGMENTATION_TEACHERS = tuple(_TAPS)


def segmentation_teacher(
    kind: str = "unet_vit",
    spatial_dims: int = 2,
    in_channels: int = 4,
    out_channels: int = 3,
    base: int = 32,
    vit_img_size: int = 224,
    vit_patch_size: int = 16,
    vit_hidden: int = 768,
    vit_layers: int = 12,
    vit_heads: int = 12,
    vit_weights: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A network of raw logits whose decoder features a student can be compared with.

    ================= =======================================================================================
    kind              network
    ================= =======================================================================================
    unet_vit          :class:`UNetViT`, five levels; sizes must be multiples of 16
    segresnet         MONAI's SegResNet, four levels of 1, 2, 2, 4 residual blocks, group normalisation
    dynunet           MONAI's DynUNet, five levels, instance normalisation, no deep supervision
    swin_unetr        MONAI's SwinUNETR, window 7
    cohra             :class:`CohraUNet`, five levels
    efficientnet_lite :class:`EfficientNetLiteUNet`, for images; with ``{"weights": FILE}`` as options its encoder
                      starts from ImageNet weights
    ================= =======================================================================================

    All but unet_vit take images of any size. Those of MONAI have MONAI's names of weights.

    Args:
        kind: see above.
        spatial_dims: 2 or 3.
        in_channels, out_channels: of the image and of the logits.
        base: channels of the first level, doubled from level to level; for swin_unetr a multiple of 12;
            efficientnet_lite has its own widths.
        vit_img_size, vit_patch_size, vit_hidden, vit_layers, vit_heads, vit_weights: of unet_vit, see `UNetViT`; the
            ViT's MLP is four times as wide as its tokens. The others do not read them.
        options: further arguments of the kind's own network, which go before those above: ``{"window_size": 4}`` for
            swin_unetr, ``{"norm": "instance"}`` for cohra.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial).

    Raises:
        ValueError: an unknown kind, other spatial_dims, a base below 1 or one that swin_unetr cannot have; options with
            deep supervision, whose several outputs no trainer here takes; as the network itself.
        TypeError: the network has no argument of an option's name.

    Example::

        teacher = segmentation_teacher("segresnet", spatial_dims=3, base=16)
        taps = segmentation_teacher_taps("segresnet")
    """
    check_kind(kind, _TAPS, "teacher")
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
    if base < 1 or (kind == "swin_unetr" and base % 12):
        needed = "a multiple of 12" if kind == "swin_unetr" else "at least 1"
        raise ValueError(f"the base of a {kind} teacher must be {needed}, got {base}.")
    own = dict(options or {})
    if own.get("deep_supervision"):
        raise ValueError(f"deep_supervision is {own['deep_supervision']!r}; a teacher must have one output.")
    common = {"spatial_dims": spatial_dims, "in_channels": in_channels, "out_channels": out_channels}
    widths = [base * 2**level for level in range(_LEVELS)]
    if kind == "segresnet":
        return AnySizeSegResNet(
            **{
                **common,
                "init_filters": base,
                "norm": ("GROUP", {"num_groups": math.gcd(8, base)}),
                # a tapped tensor has to stay what it was
                "act": ("RELU", {"inplace": False}),
                **own,
            }
        )
    if kind == "dynunet":
        return AnySizeDynUNet(
            **{
                **common,
                "kernel_size": [3] * _LEVELS,
                "strides": [1, *[2] * (_LEVELS - 1)],
                "upsample_kernel_size": [2] * (_LEVELS - 1),
                "filters": widths,
                "act_name": ("leakyrelu", {"inplace": False, "negative_slope": 0.01}),
                **own,
            }
        )
    if kind == "swin_unetr":
        return AnySizeSwinUNETR(**{**common, "feature_size": base, **own})
    if kind == "efficientnet_lite":
        if spatial_dims != 2:
            raise ValueError(f"a teacher of kind '{kind}' is a network of images, spatial_dims must be 2, got 3.")
        return EfficientNetLiteUNet(**{"in_channels": in_channels, "out_channels": out_channels, **own})
    if kind == "cohra":
        return CohraUNet(**{**common, "features": widths, **own})
    vit = {
        "vit_img_size": vit_img_size,
        "vit_patch_size": vit_patch_size,
        "vit_hidden": vit_hidden,
        "vit_mlp": 4 * vit_hidden,
        "vit_layers": vit_layers,
        "vit_heads": vit_heads,
        "vit_weights": vit_weights,
    }
    return UNetViT(**{**common, "features": widths, **vit, **own})


def usual_base(kind: str | Sequence[str], spatial_dims: int) -> int:
    """Channels of the first level that fit a GPU of 24 GiB: 64 for unet_vit on slices, 48 for swin_unetr, else 32.

    Args:
        kind: of one teacher; of several teachers of different kinds, 32.
        spatial_dims: 2 or 3.
    """
    if kind == "swin_unetr":
        return 48
    return 64 if kind == "unet_vit" and spatial_dims == 2 else 32


def segmentation_teacher_taps(kind: str = "unet_vit") -> dict[str, str]:
    """Paths of a teacher's decoder stages d4 (an eighth of the image's grid) to d1 (the image's).

    SegResNet has three stages of a decoder; its d4 is the bottom of the network.

    Raises:
        ValueError: an unknown kind.
    """
    check_kind(kind, _TAPS, "teacher")
    return dict(_TAPS[kind])
