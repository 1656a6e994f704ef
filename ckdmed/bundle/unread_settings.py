"""Settings that the chosen kind of network does without, so that nobody has to tell them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ckdmed.networks.classifier_teacher import TEACHER_BRANCHES
from ckdmed.networks.segmentation_kinds import SEGMENTATION_KINDS

__all__ = ["OF_TEACHER", "unread_settings"]

#: what the settings of a student say of its teacher, by the beginning of the names
OF_TEACHER = ("teacher_", "vit_", "vgg", "fuse", "resolutions", "map_weights")
_OF_VGG = {"vgg", "vgg_width"}
_OF_VIT = {"vit_img_size", "vit_patch", "vit_hidden", "vit_layers", "vit_heads"}


def unread_settings(parser: ConfigParser) -> set[str]:
    """The base of a network over a backbone, the ViT of a teacher that has none, patches of a network of slices.

    And all of a teacher that an evaluation would show beside its student, where it has no file.

    Args:
        parser: of a bundle. What it does not say as a value, such as a kind that a record would tell, is unknown, and
            such a network may read all.
    """
    config = parser.get()
    unread = _of_kinds(config)
    if "teacher_file" in config and not Path(str(parser.get_parsed_content("teacher_file"))).is_file():
        unread |= {name for name in config if name.startswith(OF_TEACHER)}
    return unread


def _of_kinds(config: Mapping[str, Any]) -> set[str]:
    kinds = {role: config.get(f"{role}_kind") for role in ("student", "teacher")}
    # kinds of both tasks share names
    if "task" in config:
        branches = TEACHER_BRANCHES.get(str(kinds["teacher"]), ("vgg", "vit"))
        alone = {"fuse"} if len(branches) == 1 else set()
        return alone | (set() if "vgg" in branches else _OF_VGG) | (set() if "vit" in branches else _OF_VIT)
    networks = {role: SEGMENTATION_KINDS.get(str(kind)) for role, kind in kinds.items()}
    unread = {f"{role}_base" for role, network in networks.items() if network and not network.has_base}
    unread |= {name for dims, name in ((2, "roi_size"), (3, "image_size")) if config.get("spatial_dims") == dims}
    return unread | (_OF_VIT if networks["teacher"] else set())
