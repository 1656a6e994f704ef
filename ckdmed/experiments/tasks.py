"""The tasks as experiments that distil one student in several ways see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ckdmed.experiments.cases import CASE_DISTANCES, DICE, LESIONWISE_DICE
from ckdmed.experiments.compare import Comparison
from ckdmed.experiments.slices import HD95, PATIENTS, SLICES
from ckdmed.experiments.table1 import Table1
from ckdmed.experiments.task_data import CASE_DATA, SLICE_DATA, TaskData
from ckdmed.experiments.unimodal import UnimodalComparison
from ckdmed.networks import CLASSIFIER_FUSIONS
from ckdmed.networks.segmentation_teacher import BRIDGE_FUSIONS
from ckdmed.reports import RunRecord

__all__ = ["TASKS", "DistilledTask", "task_of"]


@dataclass(frozen=True)
class DistilledTask:
    """What sets one task apart from the other.

    Attributes:
        name: of the task in the registry of methods.
        bundle, teacher_bundle: that distil the student, and that train a teacher alone.
        scores: names of the scores in the table, of which the larger are better.
        distances: of those of which the smaller are better.
        patient_score: of these the mean over patients, which arms are compared by.
        hybrid: the usual kind of teacher that joins two networks.
        fusions: the ways in which it may join them, the usual one first.
        fused_kinds: kinds of teacher that are a fusion themselves.
        tiny: sizes of the profile "tiny", whose names those of the others have as well.
        data: what it is trained on.
    """

    name: str
    bundle: str
    teacher_bundle: str
    scores: tuple[str, ...]
    distances: tuple[str, ...]
    patient_score: str
    hybrid: str
    fusions: tuple[str, ...]
    tiny: Mapping[str, Any]
    data: TaskData
    fused_kinds: tuple[str, ...] = ()

    def in_section(self, section: str) -> DistilledTask:
        """The same with its scores by the names that records of a section have: those of classes begin with it."""

        def named(score: str) -> str:
            return f"test_{score.removeprefix('val_')}" if score.startswith("val_") else score

        if section != "test":
            return self
        return replace(self, scores=tuple(map(named, self.scores)), patient_score=named(self.patient_score))


#: by the names of the registry of methods
TASKS: dict[str, DistilledTask] = {
    task.name: task
    for task in (
        DistilledTask(
            "segmentation",
            "seg_kd",
            "seg_teacher",
            (SLICES, PATIENTS),
            (HD95,),
            PATIENTS,
            "unet_vit",
            BRIDGE_FUSIONS,
            Comparison.tiny,
            SLICE_DATA,
        ),
        DistilledTask(
            "regions",
            "brats_seg_kd",
            "brats_seg_teacher",
            (DICE, LESIONWISE_DICE),
            CASE_DISTANCES,
            DICE,
            "unet_vit",
            BRIDGE_FUSIONS,
            UnimodalComparison.tiny,
            CASE_DATA,
        ),
        DistilledTask(
            "classification",
            "cls_kd",
            "cls_teacher",
            ("val_accuracy", "val_balanced_accuracy", "val_patient_accuracy"),
            (),
            "val_patient_accuracy",
            "vgg_vit",
            CLASSIFIER_FUSIONS,
            Table1.tiny,
            SLICE_DATA,
            ("msgff",),
        ),
    )
}


def task_of(records: Sequence[RunRecord]) -> DistilledTask:
    """The task of records of one section, see :meth:`DistilledTask.in_section`."""
    split = records[0].split
    return TASKS[split["task"]].in_section(split["section"])
