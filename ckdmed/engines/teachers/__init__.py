"""Teachers: a frozen one, a group of them that may learn, the cache of their outputs, and their training."""

from __future__ import annotations

from ckdmed.engines.teachers.cache import TeacherCache
from ckdmed.engines.teachers.cross_fitted import CrossFittedTeacher, FoldNetworks, fold_networks, frozen_teacher
from ckdmed.engines.teachers.fold_training import load_teacher, prepare_fold_teachers
from ckdmed.engines.teachers.folds import TeacherFolds, check_folds, cross_fit, folds_in
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
from ckdmed.engines.teachers.images import TeacherImages
from ckdmed.engines.teachers.performance import TeacherPerformance
from ckdmed.engines.teachers.scaled_maps import ScaledMapsInferer
from ckdmed.engines.teachers.training import load_known, load_network, prepare_teacher

__all__ = [
    "CooperativeTeachers",
    "CrossFittedTeacher",
    "FoldNetworks",
    "FrozenTeacher",
    "ScaledMapsInferer",
    "TeacherAverage",
    "TeacherCache",
    "TeacherEnsemble",
    "TeacherFolds",
    "TeacherIdentity",
    "TeacherImages",
    "TeacherPerformance",
    "TeachersState",
    "attach_fusion",
    "check_folds",
    "cross_fit",
    "fold_networks",
    "folds_in",
    "frozen_teacher",
    "group_teachers",
    "parallel_teachers",
    "load_known",
    "load_network",
    "load_teacher",
    "load_teachers",
    "prepare_fold_teachers",
    "prepare_teacher",
    "prepare_teachers",
    "save_teachers",
    "teacher_ensemble",
    "weights_hash",
]
