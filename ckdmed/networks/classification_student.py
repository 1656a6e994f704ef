"""Classification students of several architectures as one function of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A small classifier that returns raw logits; both kinds can be tapped at ``_blocks.0`` to ``_blocks.6``.

    Args:
        kind: "efficientnet_b0" (:class:`EfficientNetB0`, default) or "efficientnet_lite"
            (:class:`EfficientNetLiteClassifier`).
        in_channels: channels of the image.
        num_classes: number of logits.
        weights: checkpoint file of pretrained weights for all layers but the last, see `load_efficientnet_weights`.
        backbone: of efficientnet_lite: see :class:`EfficientNetLiteClassifier`.
        options: further arguments of the kind's own network, which go before those above.

    Shape: (B, in_channels, H, W) to (B, num_classes).

    Raises:
        ValueError: an unknown kind; as the network itself.
        TypeError: the network has no argument of an option's name.
    """
    check_kind(kind, CLASSIFICATION_STUDENTS, "student")
    common = {"in_channels": in_channels, "num_classes": num_classes, "weights": weights}
    own = dict(options or {})
    if kind == "efficientnet_lite":
        return EfficientNetLiteClassifier(**{**common, "backbone": backbone, **own})
    return EfficientNetB0(**{**common, **own})
