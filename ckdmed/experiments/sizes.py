"""Named sets of a bundle's settings, for runs on machines of different strength."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckdmed.bundle.workflow import bundle_settings

__all__ = ["preset_settings", "sizes_of"]

# what runs in minutes on two cores and still has every part: a ViT, five levels, real batches
_COMPACT: dict[str, Any] = {
    "image_size": 128,
    "student_base": 8,
    "teacher_base": 24,
    "vit_img_size": 128,
    "vit_hidden": 96,
    "vit_layers": 4,
    "vit_heads": 4,
    "batch_size": 16,
    "epochs": 20,
    "teacher_epochs": 16,
    "learning_rate": 0.004,
    "teacher_learning_rate": 0.002,
    "amp": True,
    "augmentation": "flips",
}

# for tests
_TINY: dict[str, Any] = {
    "image_size": 32,
    "student_base": 2,
    "teacher_base": 4,
    "vit_img_size": 32,
    "vit_hidden": 16,
    "vit_layers": 1,
    "vit_heads": 2,
    "batch_size": 8,
    "epochs": 2,
    "teacher_epochs": 1,
    "learning_rate": 0.004,
    "teacher_learning_rate": 0.004,
    "amp": False,
    "augmentation": "flips",
}


def preset_settings(preset: str) -> dict[str, Any]:
    """The settings of a preset: "compact", "tiny", or "full" for the bundle's own with a data folder (mixed precision).

    Raises:
        ValueError: an unknown preset.
    """
    return sizes_of(preset, _COMPACT, _TINY, "seg_kd")


def sizes_of(
    preset: str, compact: Mapping[str, Any], tiny: Mapping[str, Any], bundle: str, **overrides: Any
) -> dict[str, Any]:
    """The settings of the preset "compact" or "tiny", or "full" for the bundle's own with a data folder.

    Args:
        preset: its name.
        compact: settings of that preset; their names are those of "full" as well.
        tiny: settings of that preset.
        bundle: whose settings "full" takes, with mixed precision.
        overrides: settings of the bundle on which others depend.

    Raises:
        ValueError: an unknown preset.
    """
    known = {"compact": compact, "tiny": tiny}
    if preset == "full":
        own = bundle_settings(bundle, dataset_dir=".", **overrides)
        return {**{key: own[key] for key in compact}, "amp": True}
    if preset not in known:
        raise ValueError(f"preset must be full, compact or tiny, got {preset!r}.")
    return dict(known[preset])
