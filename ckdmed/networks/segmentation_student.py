"""Segmentation students of several architectures as one function of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ckdmed.networks.efficientnet_lite import EFFICIENTNET_LITE
from ckdmed.networks.exclusive_regions import exclusive_regions
from ckdmed.networks.kinds import check_kind
from ckdmed.networks.segmentation_kinds import SEGMENTATION_KINDS, make_segmentation_network
from ckdmed.networks.vit import TRANSFORMER_TAPS

__all__ = ["SEGMENTATION_STUDENTS", "segmentation_student", "segmentation_student_taps", "with_transformer_taps"]

SEGMENTATION_STUDENTS = tuple(SEGMENTATION_KINDS)


def segmentation_student(
    kind: str = "unet",
    in_channels: int = 1,
    out_channels: int = 1,
    base: int = 32,
    weights: str | None = None,
    backbone: str = EFFICIENTNET_LITE[0],
    spatial_dims: int = 2,
    options: Mapping[str, Any] | None = None,
    exclusive: bool = False,
) -> nn.Module:
    """A small network of raw logits, whose decoder features can be compared with a teacher's.

    ================= =======================================================================================
    kind              network
    ================= =======================================================================================
    unet              :class:`UNet` of five levels; sizes must be multiples of 16
    attention_unet    MONAI's AttentionUnet, five levels
    unet_plus_plus    :class:`UNetPlusPlus`, five levels, with deep supervision; prunable to a smaller depth
    residual_unet     MONAI's UNet with two residual units a level, the first level on half the grid
    flexible_unet     :class:`BackboneUNet` over any backbone of MONAI's FlexibleUNet
    efficientnet_lite :class:`EfficientNetLiteUNet`, whose encoder can start from ImageNet weights
    segresnet         MONAI's SegResNet, four levels of 1, 2, 2, 4 residual blocks, group normalisation
    dynunet           MONAI's DynUNet (nnU-Net's network), five levels, instance normalisation
    swin_unetr        MONAI's SwinUNETR, window 7
    cohra             :class:`CohraUNet`, five levels
    pyramid_attention :class:`PyramidAttentionUNet`, five levels, in the style of KDMSANet
    cnn_vit           :class:`CnnViTUNet`, five levels of Res2Net and EdgeViT blocks, in the style of MFFTNet
    deep_medic        :class:`DeepMedic`, two scales without a decoder; ``base`` 30 has the published widths
    grouped_unet      :class:`GroupedUNet`, five levels, each image by itself in the first convolution; plain, residual
                      or ResNeXt blocks (``block``); ``base`` 16 has the published widths
    cascaded_unet     :class:`CascadedUNet`, such U-Nets on a quarter, half and the whole of the grid, with deep
                      supervision; ``base`` 8 has the published widths
    ================= =======================================================================================

    All but unet take images of any size.

    Args:
        kind: see above.
        in_channels, out_channels: of the image and of the logits.
        base: channels of the first level, doubled from level to level but in deep_medic; of swin_unetr a multiple of
            12. Networks over a backbone have their own widths.
        weights: of flexible_unet and efficientnet_lite: file of the encoder, see `load_backbone_weights`.
        backbone: of the same: the encoder, see `BackboneUNet` and `EfficientNetLiteUNet`.
        spatial_dims: 2 or 3; 2 for EfficientNet-Lite.
        options: further arguments of the kind's own network, which go before those above: ``{"norm": "batch"}`` for
            unet, ``{"deep_supervision": True}`` for dynunet.
        exclusive: the network is one of a softmax over the background and the regions, and gives the regions'
            log-odds, see :class:`ExclusiveRegions`.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial).

    Raises:
        ValueError: an unknown kind; volumes for a network of images; weights for a kind that takes none; as the network
            itself.
        TypeError: the network has no argument of an option's name.
    """
    check_kind(kind, SEGMENTATION_KINDS, "student")
    own = dict(options or {})
    if SEGMENTATION_KINDS[kind].encoder:
        own = {"weights": weights, "backbone": backbone, **own}
    elif weights:
        raise ValueError(f"{weights}: a student of kind '{kind}' has no encoder with published weights to load.")
    channels = out_channels + int(exclusive)
    network = make_segmentation_network(kind, spatial_dims, in_channels, channels, base, own, "student")
    return exclusive_regions(network, exclusive)


def segmentation_student_taps(kind: str = "unet", options: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Paths of a student's decoder stages d4 (an eighth of the image's grid) to d1 (the image's).

    Args:
        kind, options: those of the student; a pruned UNet++ has fewer stages, deep_medic d1 alone.

    Raises:
        ValueError: an unknown kind.
    """
    check_kind(kind, SEGMENTATION_KINDS, "student")
    return SEGMENTATION_KINDS[kind].taps(options or {})


def with_transformer_taps(taps: Mapping[str, str], layer: str = "d4") -> dict[str, str]:
    """The taps, and one of the stages under the names of a transformer's, whose tokens it can be compared with."""
    return {**taps, **(dict.fromkeys(TRANSFORMER_TAPS, taps[layer]) if layer in taps else {})}
