"""A student and its teacher as a distillation begins with them: loaded, and able to take its images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.network_check import check_networks
from ckdmed.counted import counted

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

    A teacher that the method does not use is not asked: it need not take the student's images.

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
        RefusedStart: see :func:`~ckdmed.bundle.check_networks`; student and teacher give logits of different channels.
    """
    # an inference calls this package too, and does without trainings
    from ckdmed.engines import load_network, load_teacher

    load_network(student, student_pretrained)
    if teacher_images is not None:
        teacher_images.check()
    load_teacher(teacher, teacher_checkpoint, device, needs_teacher, calibrate_teacher)
    own = check_networks(input_shape, student=student.to(device))["student"]
    if not needs_teacher:
        return
    seen_by_teacher = input_shape if teacher_images is None else teacher_images.shape(input_shape)
    taught = check_networks(seen_by_teacher, teacher=teacher)["teacher"]
    if own is not None and taught is not None and own != taught:
        raise RefusedStart(
            f"the student ({type(student).__name__}) gives logits of {counted(own, 'channel')} and the teacher of "
            f"{taught}: both must have one for each region or class, as given in network_def and teacher_def."
        )
