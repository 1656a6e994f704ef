"""What a teacher alone and a student alone take of the settings of the bundle that distils."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckdmed.experiments.given_settings import training_config

__all__ = ["OF_TEACHERS", "settings_of_teacher", "settings_that_reach"]

# what it calls by a name that the student's bundle has for its own
_OF_BOTH = ("epochs", "image_size", "label_smoothing", "learning_rate", "recipe", "tumour_share", "weight_decay")
# of these, what is the student's where the teacher has none of its own
_SHARED = frozenset({"image_size", "tumour_share", "weight_decay"})
#: what says something of teachers alone, and changes nothing where a student is trained without
OF_TEACHERS = frozenset(
    {
        *("teacher_kind", "teacher_base", "teacher_options", "vit_img_size", "vit_patch", "vit_hidden", "vit_layers"),
        *("vit_heads", "vit_pretrained", "vgg", "vgg_width", "vgg_pretrained", "lite_pretrained", "freeze", "fuse"),
        *("resolutions", "map_weights", "teacher_image_size", "teacher_bundle", "trust_bundle", "teacher_bundle_taps"),
        *("teacher_bundle_images", "teacher_checkpoint", "teacher_checkpoints", "teachers", "teachers_dir"),
        *("teacher_epochs", "teacher_recipe", "teacher_learning_rate", "teacher_weight_decay", "teacher_tumour_share"),
        *("teacher_view", "teacher_seed", "teacher_folds", "calibrate_teacher", "teacher_flips", "teacher_mode"),
        *("teacher_label_smoothing", "share_source", "shares_by_region", "w_cooperative", "w_mutual"),
        *("cache_teacher", "cache_teacher_dtype"),
    }
)


def settings_of_teacher(bundle: str, settings: Mapping[str, Any], bundles: Path | None = None) -> dict[str, Any]:
    """The settings of a teacher's training: ``teacher_epochs`` and the like under the names that they have there; what
    is set of the student, its network among it, is left out.

    Args:
        bundle: of the teacher, such as "cls_teacher".
        settings: of the bundle that distils.
        bundles: folder of the bundles, see :func:`~ckdmed.bundle_files.bundle_folder`.
    """
    known = set(training_config(bundle, bundles)) - {"network_def", *_OF_BOTH}
    renamed = {name: settings[f"teacher_{name}"] for name in _OF_BOTH if f"teacher_{name}" in settings}
    return {name: value for name, value in settings.items() if name.split("#")[0] in known | _SHARED} | renamed


def settings_that_reach(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A training's settings without those of teachers where it is of a student alone.

    Two such trainings are the same whatever would have taught them. Records of earlier versions hold these settings.

    Args:
        settings: of a bundle, or of a record.
    """
    if settings.get("method") != "supervised":
        return dict(settings)
    return {name: value for name, value in settings.items() if name not in OF_TEACHERS}
