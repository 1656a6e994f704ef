"""Teachers, frozen or learning, the student with its taps, and the trainers that join them."""

from __future__ import annotations

from ckdmed.engines.channel_map import ChannelMap, view_name
from ckdmed.engines.mixup import MixupPrepareBatch, mixup_prepare_batch
from ckdmed.engines.multi_teacher import MultiTeacherTrainer, attach_head
from ckdmed.engines.student import DistilledStudent, attach_student
from ckdmed.engines.teachers import (
    CooperativeTeachers,
    FrozenTeacher,
    TeacherAverage,
    TeacherCache,
    TeacherEnsemble,
    TeacherIdentity,
    TeacherPerformance,
    TeachersState,
    attach_fusion,
    group_teachers,
    load_known,
    load_network,
    load_teachers,
    parallel_teachers,
    prepare_teacher,
    prepare_teachers,
    save_teachers,
    teacher_ensemble,
    weights_hash,
)
from ckdmed.engines.trainer import DistillationTrainer
from ckdmed.engines.view_batch import ViewPrepareBatch, view_prepare_batch

__all__ = [
    "ChannelMap",
    "CooperativeTeachers",
    "DistillationTrainer",
    "DistilledStudent",
    "FrozenTeacher",
    "MixupPrepareBatch",
    "MultiTeacherTrainer",
    "TeacherAverage",
    "TeacherCache",
    "TeacherEnsemble",
    "TeacherIdentity",
    "TeacherPerformance",
    "TeachersState",
    "ViewPrepareBatch",
    "attach_fusion",
    "attach_head",
    "attach_student",
    "group_teachers",
    "load_known",
    "load_network",
    "load_teachers",
    "mixup_prepare_batch",
    "parallel_teachers",
    "prepare_teacher",
    "prepare_teachers",
    "save_teachers",
    "teacher_ensemble",
    "view_name",
    "view_prepare_batch",
    "weights_hash",
]
