"""The frozen teacher, the student with its taps, and the trainer that joins them."""

from __future__ import annotations

from ckdmed.engines.mixup import MixupPrepareBatch, mixup_prepare_batch
from ckdmed.engines.student import DistilledStudent, attach_student
from ckdmed.engines.teacher import FrozenTeacher, TeacherIdentity, weights_hash
from ckdmed.engines.teacher_cache import TeacherCache
from ckdmed.engines.teacher_training import load_network, prepare_teacher
from ckdmed.engines.trainer import DistillationTrainer

__all__ = [
    "DistillationTrainer",
    "DistilledStudent",
    "FrozenTeacher",
    "TeacherIdentity",
    "MixupPrepareBatch",
    "TeacherCache",
    "attach_student",
    "load_network",
    "mixup_prepare_batch",
    "prepare_teacher",
    "weights_hash",
]
