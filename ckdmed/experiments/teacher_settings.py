"""What a bundle that trains a teacher alone takes of the settings of the bundle that distils from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckdmed.bundle_files import bundle_folder
from ckdmed.json_files import read_json

__all__ = ["settings_of_teacher"]

# what it calls by a name that the student's bundle has for its own
_OF_BOTH = ("epochs", "image_size", "learning_rate", "recipe", "weight_decay")
# of these, what is the student's where the teacher has none of its own
_SHARED = frozenset({"image_size", "weight_decay"})


def settings_of_teacher(bundle: str, settings: Mapping[str, Any], bundles: Path | None = None) -> dict[str, Any]:
    """The settings of a teacher's training: ``teacher_epochs`` and the like under the names that they have there; what
    is set of the student, its network among it, is left out.

    Args:
        bundle: of the teacher, such as "cls_teacher".
        settings: of the bundle that distils.
        bundles: folder of the bundles, see ``bundle_folder``.
    """
    known = set(read_json(bundle_folder(bundle, bundles) / "train.json")) - {"network_def", *_OF_BOTH}
    renamed = {name: settings[f"teacher_{name}"] for name in _OF_BOTH if f"teacher_{name}" in settings}
    return {name: value for name, value in settings.items() if name.split("#")[0] in known | _SHARED} | renamed
