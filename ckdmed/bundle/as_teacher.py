"""Settings of a checkpoint that is used as a teacher, by the record of the training that left it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckdmed.bundle.unread_settings import OF_TEACHER
from ckdmed.networks.classifier_teacher import TEACHER_KINDS
from ckdmed.networks.efficientnet_lite import EFFICIENTNET_LITE
from ckdmed.networks.segmentation_kinds import SEGMENTATION_KINDS

__all__ = ["as_a_teacher", "is_of_a_student", "with_own_images"]


def as_a_teacher(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a student's training by the names that a distillation has for its teacher.

    Args:
        settings: of its record. What they say of its own teacher is left out.
    """
    kept = {name: value for name, value in settings.items() if not name.startswith(OF_TEACHER)}
    kind, options = settings["student_kind"], settings.get("student_options")
    if "student_base" in settings and kind in SEGMENTATION_KINDS:
        # of an encoder an option tells which it is
        if SEGMENTATION_KINDS[kind].encoder and "student_backbone" in settings:
            options = {"backbone": settings["student_backbone"], **(options or {})}
        kept |= {"teacher_kind": kind, "teacher_base": settings["student_base"], "teacher_options": options}
    elif kind in TEACHER_KINDS and settings.get("student_backbone", EFFICIENTNET_LITE[0]) == EFFICIENTNET_LITE[0]:
        kept["teacher_kind"] = kind
    # a student of single sequences has not seen all those of the training
    return {**kept, "modalities": kept["student_modalities"]} if "student_modalities" in kept else kept


def is_of_a_student(checkpoint: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is of the student in its record, and not of the teacher that a run leaves below ``teacher``.

    Args:
        checkpoint: its path.
        settings: of its record, see `recorded_settings`; that of a distillation tells of both.
    """
    folders = {part.name for part in list(checkpoint.absolute().parents)[:2]}
    return "student_kind" in settings and not ({"teacher", "teachers"} & folders or checkpoint.stem == "teacher")


def with_own_images(checkpoint: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a record with the ``image_size`` of the checkpoint: a run's teacher may see larger images.

    Args:
        checkpoint: its path.
        settings: of its record, which a teacher shares with its student.
    """
    edge = settings.get("teacher_image_size")
    if edge is None or "student_kind" not in settings or is_of_a_student(checkpoint, settings):
        return dict(settings)
    return {**settings, "image_size": edge}
