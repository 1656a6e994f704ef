"""The kinds of segmentation networks that serve as student and as teacher alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ckdmed.networks.backbone_unet import BackboneUNet
from ckdmed.networks.cascaded_unet import CascadedUNet
from ckdmed.networks.channel_counts import with_channel_counts
from ckdmed.networks.cnn_vit_unet import CnnViTUNet
from ckdmed.networks.cohra_unet import CohraUNet
from ckdmed.networks.deep_medic import DeepMedic
from ckdmed.networks.efficientnet_lite import DECODER_TAPS, EFFICIENTNET_LITE, EfficientNetLiteUNet
from ckdmed.networks.grouped_unet import GroupedUNet
from ckdmed.networks.padded import (
    AnySizeAttentionUNet,
    AnySizeDynUNet,
    AnySizeResidualUNet,
    AnySizeSegResNet,
    AnySizeSwinUNETR,
)
from ckdmed.networks.pyramid_attention_unet import PyramidAttentionUNet
from ckdmed.networks.unet import UNet
from ckdmed.networks.unet_plus_plus import UNetPlusPlus, depth_taps

__all__ = ["SEGMENTATION_KINDS", "SegmentationKind", "head_weights", "make_segmentation_network", "middle_stage"]

LEVELS = 5
#: the option of a pruned network that tells the channels of its layers
PRUNED = "pruned_channels"
_UNET_TAPS = {f"d{i}": f"decoder.d{i}" for i in (4, 3, 2, 1)}


@dataclass(frozen=True)
class SegmentationKind:
    """A kind of network.

    Args:
        network: its class.
        arguments: what of the class's arguments follows from the channels of the first level.
        taps: paths of its decoder stages, d4 (an eighth of the image's grid) to d1 (the image's), from its options; of
            a network without decoder d1 alone.
        spatial_dims: what it is a network of: 2 images, 3 volumes.
        multiple: of which the base must be a multiple.
        encoder: whether there are published weights for its encoder.
    """

    network: Callable[..., nn.Module]
    arguments: Callable[[int], dict[str, Any]]
    taps: Callable[[Mapping[str, Any]], dict[str, str]]
    spatial_dims: tuple[int, ...] = (2, 3)
    multiple: int = 1
    encoder: bool = False

    @property
    def has_base(self) -> bool:
        """Whether its widths follow from the channels of its first level; a network over a backbone has its own."""
        return bool(self.arguments(self.multiple))


def _widths(base: int) -> list[int]:
    return [base * 2**level for level in range(LEVELS)]


SEGMENTATION_KINDS: dict[str, SegmentationKind] = {
    "unet": SegmentationKind(UNet, lambda base: {"features": _widths(base)}, lambda own: dict(_UNET_TAPS)),
    "attention_unet": SegmentationKind(
        AnySizeAttentionUNet,
        lambda base: {"channels": _widths(base), "strides": [2] * (LEVELS - 1)},
        lambda own: {f"d{i + 1}": "model.1." + "submodule.1." * i + "merge" for i in (3, 2, 1, 0)},
        multiple=2,
    ),
    "unet_plus_plus": SegmentationKind(
        UNetPlusPlus,
        lambda base: {"features": [*_widths(base), base]},
        lambda own: depth_taps(int(own.get("depth", 4))),
    ),
    "residual_unet": SegmentationKind(
        AnySizeResidualUNet,
        lambda base: {"channels": _widths(base), "strides": [2] * (LEVELS - 1), "num_res_units": 2},
        # the last stage gives the logits: its transposed convolution is what there is of the whole grid
        lambda own: {f"d{i + 1}": "model.1." + "submodule.1." * (i - 1) + "submodule.2" for i in (3, 2, 1)}
        | {"d1": "model.2.0"},
    ),
    "flexible_unet": SegmentationKind(BackboneUNet, lambda base: {}, lambda own: dict(DECODER_TAPS), encoder=True),
    "efficientnet_lite": SegmentationKind(
        EfficientNetLiteUNet, lambda base: {}, lambda own: dict(DECODER_TAPS), (2,), encoder=True
    ),
    "segresnet": SegmentationKind(
        AnySizeSegResNet,
        lambda base: {
            "init_filters": base,
            "norm": ("GROUP", {"num_groups": math.gcd(8, base)}),
            # a tapped tensor has to stay what it was
            "act": ("RELU", {"inplace": False}),
        },
        # three stages of a decoder; d4 is the bottom of the network
        lambda own: {"d4": "down_layers.3", "d3": "up_layers.0", "d2": "up_layers.1", "d1": "up_layers.2"},
    ),
    "dynunet": SegmentationKind(
        AnySizeDynUNet,
        lambda base: {
            "kernel_size": [3] * LEVELS,
            "strides": [1, *[2] * (LEVELS - 1)],
            "upsample_kernel_size": [2] * (LEVELS - 1),
            "filters": _widths(base),
            "act_name": ("leakyrelu", {"inplace": False, "negative_slope": 0.01}),
        },
        lambda own: {f"d{4 - i}": f"upsamples.{i}" for i in range(4)},
    ),
    "swin_unetr": SegmentationKind(
        AnySizeSwinUNETR,
        lambda base: {"feature_size": base},
        lambda own: {f"d{i}": f"decoder{i}" for i in (4, 3, 2, 1)},
        multiple=12,
    ),
    "cohra": SegmentationKind(CohraUNet, lambda base: {"features": _widths(base)}, lambda own: dict(_UNET_TAPS)),
    "pyramid_attention": SegmentationKind(
        PyramidAttentionUNet,
        lambda base: {"features": _widths(base)},
        lambda own: {name: f"unet.{path}" for name, path in _UNET_TAPS.items()},
    ),
    "cnn_vit": SegmentationKind(
        CnnViTUNet, lambda base: {"features": _widths(base)}, lambda own: dict(_UNET_TAPS), multiple=2
    ),
    "deep_medic": SegmentationKind(
        DeepMedic,
        # 30, 30, 40, 40, 40, 40, 50, 50 and 150, as published, at a base of 30
        lambda base: {"widths": [round(base * width / 3) for width in (3, 3, 4, 4, 4, 4, 5, 5)], "hidden": 5 * base},
        # it has no decoder: its coarse pathway lies on a third of the grid, where no other network has a stage
        lambda own: {"d1": "hidden"},
    ),
    "grouped_unet": SegmentationKind(
        GroupedUNet, lambda base: {"features": _widths(base)}, lambda own: dict(_UNET_TAPS)
    ),
    "cascaded_unet": SegmentationKind(
        CascadedUNet,
        lambda base: {"features": _widths(base)[:4]},
        # d4 is the bottom of the network on the whole grid, which has four levels
        lambda own: {"d4": "unet_1.bridge", **{f"d{i}": f"unet_1.decoder.d{i}" for i in (3, 2, 1)}},
    ),
}


def make_segmentation_network(
    kind: str,
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    base: int,
    options: Mapping[str, Any],
    role: str,
) -> nn.Module:
    """A network of a kind in `SEGMENTATION_KINDS`.

    Args:
        options: further arguments of the network, and `PRUNED`, see `with_channel_counts`.
        role: "student" or "teacher", for the messages.

    Raises:
        ValueError: volumes for a network of images, or a base that the kind cannot have; further heads on other grids
            than the logits'; as the network itself.
        TypeError: the network has no argument of an option's name.
    """
    found = SEGMENTATION_KINDS[kind]
    backbone = options.get("backbone") if kind == "flexible_unet" else None
    allowed = (2,) if backbone in EFFICIENTNET_LITE else found.spatial_dims
    if spatial_dims not in allowed:
        raise ValueError(f"a {role} of kind '{kind}' is a 2D network: spatial_dims must be 2, got {spatial_dims}.")
    if base < 1 or base % found.multiple:
        needed = "at least 1" if found.multiple == 1 else f"a multiple of {found.multiple}"
        raise ValueError(f"the base of a {kind} {role} must be {needed}, got {base}.")
    channels = {"in_channels": in_channels, "out_channels": out_channels}
    dims = {} if found.spatial_dims == (2,) else {"spatial_dims": spatial_dims}
    own = {name: value for name, value in options.items() if name != PRUNED}
    network = found.network(**{**dims, **channels, **found.arguments(base), **own})
    if getattr(network, "deep_supervision", False) and not head_weights(network):
        raise ValueError(
            f"the further heads of a {kind} {role} lie on coarser grids than the label, and no training here reads "
            "them: leave deep_supervision out of its options."
        )
    return with_channel_counts(network, options.get(PRUNED) or {})


def middle_stage(taps: Mapping[str, str]) -> str:
    """Of the taps of decoder stages the path of d2, on half the image's grid; of a network without it that of d1."""
    return taps.get("d2") or taps["d1"]


def head_weights(network: nn.Module) -> list[float]:
    """Weights of the heads that a network gives in training, the main one first; none of one without further heads."""
    return [float(weight) for weight in getattr(network, "head_weights", ())]
