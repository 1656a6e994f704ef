"""Classification students of several architectures as one function of settings."""

from __future__ import annotations

from torch import nn

from ckdmed.networks.efficientnet import EfficientNetB0
from ckdmed.networks.efficientnet_lite import EFFICIENTNET_LITE
from ckdmed.networks.efficientnet_lite_classifier import EfficientNetLiteClassifier
from ckdmed.networks.kinds import check_kind

__all__ = ["CLASSIFICATION_STUDENTS", "classification_student"]

CLASSIFICATION_STUDENTS = ("efficientnet_b0", "efficientnet_lite")


def classification_student(
    kind: str = "efficientnet_b0",
    in_channels: int = 3,
    num_classes: int = 3,
    weights: str | None = None,
    backbone: str = EFFICIENTNET_LITE[0],
) -> nn.Module:
    """A small classifier that returns raw logits; both kinds can be tapped at ``_blocks.0`` to ``_blocks.6``.

    Args:
        kind: "efficientnet_b0" (:class:`EfficientNetB0`, default) or "efficientnet_lite"
            (:class:`EfficientNetLiteClassifier`).
        in_channels: channels of the image.
        num_classes: number of logits.
        weights: checkpoint file of pretrained weights for all layers but the last, see `load_efficientnet_weights`.
        backbone: of efficientnet_lite: see :class:`EfficientNetLiteClassifier`.

    Shape: (B, in_channels, H, W) to (B, num_classes).

    Raises:
        ValueError: an unknown kind; as the network itself.
    """
    check_kind(kind, CLASSIFICATION_STUDENTS, "student")
    if kind == "efficientnet_lite":
        return EfficientNetLiteClassifier(in_channels, num_classes, weights, backbone)
    return EfficientNetB0(in_channels, num_classes, weights=weights)
