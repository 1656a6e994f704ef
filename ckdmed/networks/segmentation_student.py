"""Segmentation students of several architectures as one function of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ckdmed.networks.efficientnet_lite import DECODER_TAPS, EFFICIENTNET_LITE, EfficientNetLiteUNet
from ckdmed.networks.kinds import check_kind
from ckdmed.networks.unet import UNet
from ckdmed.networks.vit import TRANSFORMER_TAPS

__all__ = ["SEGMENTATION_STUDENTS", "segmentation_student", "segmentation_student_taps", "with_transformer_taps"]

_LEVELS = 5
# decoder stages: d4 an eighth of the image's grid, d1 the whole
_TAPS = {
    "unet": {f"d{i}": f"decoder.d{i}" for i in (4, 3, 2, 1)},
    "efficientnet_lite": DECODER_TAPS,
}
SEGMENTATION_STUDENTS = tuple(_TAPS)


def segmentation_student(
    kind: str = "unet",
    in_channels: int = 1,
    out_channels: int = 1,
    base: int = 32,
    weights: str | None = None,
    backbone: str = EFFICIENTNET_LITE[0],
    spatial_dims: int = 2,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A small network of raw logits, whose decoder features can be compared with a teacher's.

    ================= =======================================================================================
    kind              network
    ================= =======================================================================================
    unet              :class:`UNet` of five levels; sizes must be multiples of 16
    efficientnet_lite :class:`EfficientNetLiteUNet`, whose encoder can start from ImageNet weights; images of any size
    ================= =======================================================================================

    Args:
        kind: see above.
        in_channels, out_channels: of the image and of the logits.
        base: of unet: channels of the first level, doubled from level to level. The other has its own widths.
        weights: of efficientnet_lite: file of its encoder, see `load_efficientnet_weights`.
        backbone: of efficientnet_lite: its encoder, see `EfficientNetLiteUNet`.
        spatial_dims: 2, or 3 for unet.
        options: further arguments of the kind's own network, which go before those above: ``{"norm": "batch"}`` for
            unet.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial).

    Raises:
        ValueError: an unknown kind; volumes for a network of images; weights for a kind that takes none; as the network
            itself.
        TypeError: the network has no argument of an option's name.
    """
    check_kind(kind, _TAPS, "student")
    own = dict(options or {})
    if kind == "efficientnet_lite":
        if spatial_dims != 2:
            raise ValueError(f"a student of kind '{kind}' is a network of images, spatial_dims must be 2, got 3.")
        return EfficientNetLiteUNet(
            **{
                "in_channels": in_channels,
                "out_channels": out_channels,
                "weights": weights,
                "backbone": backbone,
                **own,
            }
        )
    if weights:
        raise ValueError(f"{weights}: a student of kind '{kind}' has no encoder with published weights to load.")
    features = [base * 2**level for level in range(_LEVELS)]
    common = {"spatial_dims": spatial_dims, "in_channels": in_channels, "out_channels": out_channels}
    return UNet(**{**common, "features": features, **own})


def segmentation_student_taps(kind: str = "unet") -> dict[str, str]:
    """Paths of a student's decoder stages d4 (an eighth of the image's grid) to d1 (the image's).

    Raises:
        ValueError: an unknown kind.
    """
    check_kind(kind, _TAPS, "student")
    return dict(_TAPS[kind])


def with_transformer_taps(taps: Mapping[str, str], layer: str = "d4") -> dict[str, str]:
    """The taps, and one of the stages under the names of a transformer's, whose tokens it can be compared with."""
    return {**taps, **(dict.fromkeys(TRANSFORMER_TAPS, taps[layer]) if layer in taps else {})}
