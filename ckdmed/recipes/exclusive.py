"""What exclusive regions and copies of a grey image do not go together with."""

from __future__ import annotations

__all__ = ["check_bundle_teacher", "check_exclusive", "check_slice_settings"]


def check_exclusive(exclusive: bool, mixup: float = 0.0, teacher_folds: int = 1, soft_masks: bool = False) -> None:
    """Refuse settings that have no meaning for regions that exclude each other.

    Raises:
        ValueError: mixed or soft labels, which are of no one class; cross-fitted teachers, whose calibration knows
            masks or classes of images alone.
    """
    if not exclusive:
        return
    if mixup > 0 or soft_masks:
        raise ValueError(
            "exclusive regions have exactly one class per pixel: set mixup to 0 and give masks without probabilities, "
            "or set exclusive to false."
        )
    if teacher_folds > 1:
        raise ValueError(
            "teacher_folds are calibrated for single masks and classes: set it to 1, or exclusive to false."
        )


def check_bundle_teacher(teacher_bundle: str | None, exclusive: bool, grey_as_rgb: bool) -> None:
    """Refuse a teacher out of a bundle where the student's channels are none of its.

    Raises:
        ValueError: exclusive regions, of which that teacher has no background; copies of a grey image, which it would
            take for several images.
    """
    given = [name for name, value in (("exclusive", exclusive), ("grey_as_rgb", grey_as_rgb)) if value]
    if teacher_bundle and given:
        raise ValueError(
            f"a teacher from a bundle sees plain images and gives one sigmoid per region: set {given[0]} to false, or "
            "teacher_bundle to null."
        )


def check_slice_settings(
    exclusive: bool, grey_as_rgb: bool, mixup: float = 0.0, teacher_folds: int = 1, teacher_bundle: str | None = None
) -> None:
    """Refuse those settings of a distillation on slices that contradict each other.

    Raises:
        ValueError: as :func:`check_exclusive` and :func:`check_bundle_teacher`.
    """
    check_exclusive(exclusive, mixup, teacher_folds)
    check_bundle_teacher(teacher_bundle, exclusive, grey_as_rgb)
