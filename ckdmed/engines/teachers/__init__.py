"""Teachers: a frozen one, a group of them that may learn, the cache of their outputs, and their training."""

from __future__ import annotations

from ckdmed.engines.teachers.cache import TeacherCache
from ckdmed.engines.teachers.frozen import FrozenTeacher, TeacherIdentity, weights_hash
from ckdmed.engines.teachers.group import (
    CooperativeTeachers,
    TeacherAverage,
    TeacherEnsemble,
    attach_fusion,
    group_teachers,
    parallel_teachers,
    teacher_ensemble,
)
from ckdmed.engines.teachers.group_training import TeachersState, load_teachers, prepare_teachers, save_teachers
from ckdmed.engines.teachers.performance import TeacherPerformance
from ckdmed.engines.teachers.training import load_known, load_network, prepare_teacher

__all__ = [
    "CooperativeTeachers",
    "FrozenTeacher",
    "TeacherAverage",
    "TeacherCache",
    "TeacherEnsemble",
    "TeacherIdentity",
    "TeacherPerformance",
    "TeachersState",
    "attach_fusion",
    "group_teachers",
    "parallel_teachers",
    "load_known",
    "load_network",
    "load_teachers",
    "prepare_teacher",
    "prepare_teachers",
    "save_teachers",
    "teacher_ensemble",
    "weights_hash",
]
