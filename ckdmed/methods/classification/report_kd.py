"""The total of the reports that the project started from, for classification."""

from __future__ import annotations

from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import DistillationLoss, LossTerm
from ckdmed.methods.classification.parts import msgff_terms, soft_target_weight
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "report_kd",
    "classification",
    summary="the reports' total: soft targets and MSGFF between features as they are",
    source="the project's reports (S0, S2), which give alpha and T and no beta",
)
def report_kd(
    task: Task,
    alpha: float = 0.1,
    temperature: float = 4.0,
    beta: float | None = None,
    scales: list[int | None] | None = None,
    scale_weights: str | None = None,
    feature_layers: list[str] | None = None,
) -> DistillationLoss:
    """alpha CE + (1 - alpha) T^2 KL(teacher || student) + beta MSGFF.

    MSGFF is the squared distance between the last convolution of the teacher's VGG and a stage of the student, features
    as they are. The projection is on the teacher's side: random, orthogonal and frozen, for trained there, it and the
    student's features would shrink to nothing.

    Args:
        task: the task.
        alpha: weight of the cross entropy, in [0, 1]; 1 - alpha is that of the soft targets.
        temperature: T.
        beta: weight of MSGFF; 1 by default where the teacher has a convolutional map, none where it has not.
        scales, scale_weights: of MSGFF, see :func:`~ckdmed.methods.feature_terms.feature_distance`.
        feature_layers: stages that MSGFF compares, see :func:`~ckdmed.networks.classification_student_taps`; "msgff" by
            default.

    Raises:
        ValueError: alpha outside [0, 1]; a weight of MSGFF for a teacher without a convolutional map; a stage that the
            two networks do not have in common.
    """
    terms = {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "soft_targets": LossTerm(KDLoss("softmax", temperature=temperature), "logits", soft_target_weight(alpha)),
        **msgff_terms(task, beta, "none", None, scales, scale_weights, feature_layers),
    }
    return DistillationLoss(terms, projection_side="teacher")
