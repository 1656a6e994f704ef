"""A student and its teacher as a distillation begins with them: loaded, and able to take its images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from ckdmed.bundle.network_check import check_networks

if TYPE_CHECKING:
    from ckdmed.engines import TeacherImages

__all__ = ["ready_networks"]


def ready_networks(
    student: nn.Module,
    teacher: nn.Module,
    input_shape: Sequence[int],
    student_pretrained: str | None = None,
    teacher_checkpoint: str | None = None,
    needs_teacher: bool = True,
    calibrate_teacher: bool = False,
    teacher_images: TeacherImages | None = None,
    device: str | torch.device = "cpu",
) -> None:
    """Load what both networks start from, and ask each once about an empty image, before anything is written.

    Args:
        student: the plain network; it is moved to ``device``.
        teacher: that of :func:`~ckdmed.engines.fold_networks`; it is put into evaluation mode.
        input_shape: (B, C, *spatial) of a batch.
        student_pretrained: the student's checkpoint, or None.
        teacher_checkpoint, needs_teacher, calibrate_teacher: see :func:`~ckdmed.engines.load_teacher`.
        teacher_images: where the teacher may see images of another size.

    Raises:
        FileNotFoundError, ValueError: see :func:`~ckdmed.engines.load_network`, :func:`~ckdmed.engines.load_teacher`
            and :class:`~ckdmed.engines.TeacherImages`.
        RefusedStart: see :func:`~ckdmed.bundle.check_networks`.
    """
    # an inference calls this package too, and does without trainings
    from ckdmed.engines import load_network, load_teacher

    load_network(student, student_pretrained)
    if teacher_images is not None:
        teacher_images.check()
    load_teacher(teacher, teacher_checkpoint, device, needs_teacher, calibrate_teacher)
    check_networks(input_shape, student=student.to(device))
    check_networks(input_shape if teacher_images is None else teacher_images.shape(input_shape), teacher=teacher)
