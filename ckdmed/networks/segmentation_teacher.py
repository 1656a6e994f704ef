"""Segmentation teachers of several architectures as one function of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ckdmed.networks.bridge_fusion import BRIDGE_FUSIONS
from ckdmed.networks.exclusive_regions import exclusive_regions
from ckdmed.networks.kinds import check_kind
from ckdmed.networks.segmentation_kinds import LEVELS, SEGMENTATION_KINDS, make_segmentation_network
from ckdmed.networks.unet_vit import UNetViT
from ckdmed.networks.vgg_vit_unet import VGGViTUNet
from ckdmed.networks.vit import transformer_taps

__all__ = [
    "BRIDGE_FUSIONS",
    "HYBRID_TEACHERS",
    "SEGMENTATION_TEACHERS",
    "segmentation_teacher",
    "segmentation_teacher_taps",
    "usual_base",
]

# Decoder stages by the student's names for those of the same grid: d4 an eighth of the image, d1 the whole.
_VIT_TAPS = {
    "unet_vit": {f"d{i}": f"unet.decoder.d{i}" for i in (4, 3, 2, 1)},
    "vgg_vit": {f"d{i}": f"decoder.d{i}" for i in (4, 3, 2, 1)},
}
_USUAL_BASES = {"swin_unetr": 48, "deep_medic": 30, "grouped_unet": 16, "cascaded_unet": 8}
#: the kinds of two networks
HYBRID_TEACHERS = tuple(_VIT_TAPS)
SEGMENTATION_TEACHERS = (*_VIT_TAPS, *SEGMENTATION_KINDS)


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
    fuse: str = "class_token",
    resolutions: Sequence[int] | None = None,
    map_weights: str = "global",
    exclusive: bool = False,
) -> nn.Module:
    """A network of raw logits whose decoder features a student can be compared with.

    "unet_vit" is :class:`UNetViT` of five levels, whose images' sizes must be multiples of 16; "vgg_vit" is
    :class:`VGGViTUNet`; the other kinds are those of :func:`segmentation_student`. Those of MONAI have MONAI's
    names of weights.

    Args:
        kind: see above.
        spatial_dims: 2 or 3.
        in_channels, out_channels: of the image and of the logits.
        base: channels of the first level, doubled from level to level; for swin_unetr a multiple of 12;
            networks over a backbone have their own widths.
        vit_img_size, vit_patch_size, vit_hidden, vit_layers, vit_heads, vit_weights: of unet_vit and vgg_vit; the
            ViT's MLP is four times as wide as its tokens. The others do not read them.
        options: further arguments of the kind's own network, which go before those above: ``{"window_size": 4}`` for
            swin_unetr, ``{"backbone": "resnet50", "weights": FILE}`` for flexible_unet, ``{"deep_supervision": True,
            "deep_supr_num": 3}`` for dynunet.
        fuse: how unet_vit and vgg_vit join their two networks at the bridge, one of `BRIDGE_FUSIONS`.
        resolutions: edges at which both of their networks see each image, see :class:`UNetViT`; None for its own.
        map_weights: weights of these resolutions, "global" or "gated".
        exclusive: see :func:`segmentation_student`.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial).

    Raises:
        ValueError: an unknown kind or `fuse`, a `fuse` for a kind that joins nothing, other spatial_dims, a base
            below 1 or one that the kind cannot have; resolutions for another kind; as the network itself.
        TypeError: the network has no argument of an option's name.

    Example::

        teacher = segmentation_teacher("segresnet", spatial_dims=3, base=16)
        taps = segmentation_teacher_taps("segresnet")
    """
    check_kind(kind, SEGMENTATION_TEACHERS, "teacher")
    out_channels += int(exclusive)
    if fuse not in BRIDGE_FUSIONS:
        raise ValueError(f"fuse must be one of {', '.join(BRIDGE_FUSIONS)}, got {fuse!r}.")
    if kind not in _VIT_TAPS and fuse != BRIDGE_FUSIONS[0]:
        raise ValueError(f"fuse={fuse!r} joins a U-Net and a ViT; a {kind} teacher is one network.")
    if kind not in _VIT_TAPS and resolutions:
        raise ValueError(
            f"resolutions={list(resolutions)} are for a U-Net with a ViT; a {kind} teacher is one network."
        )
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
    own = dict(options or {})
    if kind in SEGMENTATION_KINDS:
        network = make_segmentation_network(kind, spatial_dims, in_channels, out_channels, base, own, "teacher")
        return exclusive_regions(network, exclusive)
    if base < 1:
        raise ValueError(f"the base of a {kind} teacher must be at least 1, got {base}.")
    vit = {
        "vit_img_size": vit_img_size,
        "vit_patch_size": vit_patch_size,
        "vit_hidden": vit_hidden,
        "vit_mlp": 4 * vit_hidden,
        "vit_layers": vit_layers,
        "vit_heads": vit_heads,
        "vit_weights": vit_weights,
        "fusion": fuse,
        "resolutions": resolutions,
        "map_weights": map_weights,
    }
    common = {"spatial_dims": spatial_dims, "in_channels": in_channels, "out_channels": out_channels}
    if kind == "vgg_vit":
        return exclusive_regions(VGGViTUNet(**{**common, "base": base, **vit, **own}), exclusive)
    features = [base * 2**level for level in range(LEVELS)]
    return exclusive_regions(UNetViT(**{**common, "features": features, **vit, **own}), exclusive)


def usual_base(kind: str | Sequence[str], spatial_dims: int) -> int:
    """Channels of the first level that fit a GPU of 24 GiB.

    64 for unet_vit and vgg_vit on slices, 48 for swin_unetr; as published 30 for deep_medic, 16 for grouped_unet and 8
    for cascaded_unet; else 32.

    Args:
        kind: of one teacher; of several teachers of different kinds, 32.
        spatial_dims: 2 or 3.
    """
    if not isinstance(kind, str):
        return 32
    return 64 if kind in _VIT_TAPS and spatial_dims == 2 else _USUAL_BASES.get(kind, 32)


def segmentation_teacher_taps(
    kind: str = "unet_vit", options: Mapping[str, Any] | None = None, network: nn.Module | None = None
) -> dict[str, str]:
    """Paths of a teacher's decoder stages d4 (an eighth of the image's grid) to d1 (the image's).

    SegResNet and the cascaded U-Net have three stages of a decoder; their d4 is the bottom of the network.

    Args:
        kind, options: those of the teacher; a pruned UNet++ has fewer stages, deep_medic d1 alone.
        network: the teacher, for the taps of its Vision Transformer as well (see `transformer_taps`), which has none
            where it sees several resolutions.

    Raises:
        ValueError: an unknown kind.
    """
    check_kind(kind, SEGMENTATION_TEACHERS, "teacher")
    taps = dict(_VIT_TAPS[kind]) if kind in _VIT_TAPS else SEGMENTATION_KINDS[kind].taps(options or {})
    return taps if network is None or getattr(network, "several", False) else taps | transformer_taps(network)
