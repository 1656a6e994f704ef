"""A second image of a sample, prepared for a teacher that sees other pixels than its student."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import Compose, Transform
from monai.utils import CommonKeys

__all__ = ["TEACHER_IMAGE", "TeacherImaged"]

# the key of a sample, and of a batch, that holds the teacher's image where it is another one than the student's
TEACHER_IMAGE = "teacher_image"


class TeacherImaged(Transform):
    """Prepare a sample's image for the teacher, beside the student's.

    To stand before the preparation of the student's image, which replaces the path by pixels.

    Args:
        preprocessing: of the teacher's image, under the key ``image``; without anything random.

    Shape:
        ``teacher_image`` (C, H', W') of the teacher's size; ``image`` stays the path that it was.
    """

    def __init__(self, preprocessing: Compose) -> None:
        self.preprocessing = preprocessing

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with ``teacher_image`` beside what it has."""
        prepared: Any = self.preprocessing(dict(data))
        return {**data, TEACHER_IMAGE: prepared[CommonKeys.IMAGE]}
