"""Named sets of a segmentation bundle's settings, for runs on machines of different strength."""

from __future__ import annotations

from typing import Any

from ckdmed.bundle.workflow import bundle_settings

__all__ = ["PRESET_SIZES", "preset_settings"]

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

PRESET_SIZES = ("full", "compact", "tiny")


def preset_settings(preset: str) -> dict[str, Any]:
    """The settings of a preset: "compact", "tiny", or "full" for the bundle's own with a data folder (mixed precision).

    Raises:
        ValueError: an unknown preset.
    """
    if preset not in PRESET_SIZES:
        raise ValueError(f"preset must be one of {PRESET_SIZES}, got {preset!r}.")
    if preset != "full":
        return dict(_COMPACT if preset == "compact" else _TINY)
    own = bundle_settings("seg_kd", dataset_dir=".")
    return {**{key: own[key] for key in _COMPACT}, "amp": True}
