"""Classification students of several architectures as one function of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ckdmed.networks.efficientnet import EfficientNetB0
from ckdmed.networks.efficientnet_lite import EFFICIENTNET_LITE
from ckdmed.networks.efficientnet_lite_classifier import EfficientNetLiteClassifier
from ckdmed.networks.kinds import check_kind
from ckdmed.networks.plain_cnn import PlainCNN
from ckdmed.networks.plain_vit import PlainViT
from ckdmed.networks.vit import TRANSFORMER_TAPS

__all__ = [
    "CLASSIFICATION_STUDENTS",
    "classification_student",
    "classification_student_map",
    "classification_student_taps",
]

_EXITS = 4
# their second, third and fourth stages are the first on a quarter, an eighth and a sixteenth of the image's grid
_OF_FALLING_GRIDS = (EfficientNetB0, EfficientNetLiteClassifier, PlainCNN)

# there are no published weights of these, and their last stage has positions enough to look at, however small the image
_PLAIN: dict[str, type[nn.Module]] = {"plain_cnn": PlainCNN, "vit": PlainViT}
CLASSIFICATION_STUDENTS = ("efficientnet_b0", "efficientnet_lite", *_PLAIN)


def classification_student(
    kind: str = "efficientnet_b0",
    in_channels: int = 3,
    num_classes: int = 3,
    weights: str | None = None,
    backbone: str = EFFICIENTNET_LITE[0],
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A small classifier that returns raw logits, and whose stages can be tapped.

    ================= =======================================================================================
    kind              network
    ================= =======================================================================================
    efficientnet_b0   :class:`EfficientNetB0`, 4.0 million parameters; stages ``_blocks.0`` to ``_blocks.6``
    efficientnet_lite :class:`EfficientNetLiteClassifier`, 3.4 million; the same stages
    plain_cnn         :class:`PlainCNN`, 0.29 million; stages ``_blocks.0`` to ``_blocks.3``. For images of 64
                      to 160 pixels and without pretrained weights
    vit               :class:`PlainViT`, 3.6 million, a Vision Transformer; stages ``_blocks.0`` to ``_blocks.3``, all
                      on the grid of its patches. For images of 64 to 224 pixels and without pretrained weights
    ================= =======================================================================================

    Args:
        kind: see above.
        in_channels: channels of the image.
        num_classes: number of logits.
        weights: checkpoint file of pretrained weights for all layers but the last, see `load_efficientnet_weights`;
            there are none for plain_cnn and vit.
        backbone: of efficientnet_lite: see :class:`EfficientNetLiteClassifier`.
        options: further arguments of the kind's own network, which go before those above.

    Shape: (B, in_channels, H, W) to (B, num_classes).

    Raises:
        ValueError: an unknown kind; weights for a kind that takes none; as the network itself.
        TypeError: the network has no argument of an option's name.
    """
    check_kind(kind, CLASSIFICATION_STUDENTS, "student")
    sizes = {"in_channels": in_channels, "num_classes": num_classes}
    own = dict(options or {})
    if kind in _PLAIN:
        if weights:
            raise ValueError(f"{weights}: a student of kind '{kind}' has no published weights to load.")
        return _PLAIN[kind](**{**sizes, **own})
    common = {**sizes, "weights": weights}
    if kind == "efficientnet_lite":
        return EfficientNetLiteClassifier(**{**common, "backbone": backbone, **own})
    return EfficientNetB0(**{**common, **own})


def classification_student_map(kind: str, image_size: int) -> str:
    """Path of the stage whose map tells where a student looks: the last one with enough positions.

    Raises:
        ValueError: an unknown kind.
    """
    check_kind(kind, CLASSIFICATION_STUDENTS, "student")
    if kind in _PLAIN:
        return "_blocks.3"
    # at 64 pixels the last stage has four positions
    return "_blocks.6" if image_size >= 128 else "_blocks.4"


def classification_student_taps(student: nn.Module, block: int = 3) -> dict[str, str]:
    """Paths of what of a student is compared: one stage with a teacher's map or tokens, four as early exits.

    "msgff", "tokens" and "qkv" are the stage ``block``; "exit4" (the deepest) to "exit1" are spread over all stages.
    "s16", "s8" and "s4" are the first stages on a sixteenth, an eighth and a quarter of the image's grid, of the kinds
    that have such ones: all but the Vision Transformer.
    """
    stages = len(getattr(student, "_blocks", ()))
    chosen = sorted({round(number * (stages - 1) / (_EXITS - 1)) for number in range(_EXITS)}) if stages else []
    exits = {f"exit{number + 1}": f"_blocks.{stage}" for number, stage in enumerate(chosen)}
    taps = dict.fromkeys(("msgff", *TRANSFORMER_TAPS), f"_blocks.{block}")
    if isinstance(student, _OF_FALLING_GRIDS):
        taps |= {name: f"_blocks.{stage}" for name, stage in (("s16", 3), ("s8", 2), ("s4", 1))}
    return {**taps, **dict(reversed(exits.items()))}
