"""The project's own method for classification: soft targets and features."""

from __future__ import annotations

from ckdmed.losses.schedules import RampAndOff
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.classification.parts import msgff_terms, soft_target_weight
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "ckd",
    "classification",
    summary="soft targets and MSGFF between features normalised at each position",
    source="this project, after its reports (S0, S2); soft targets: Hinton et al. 2015 (arXiv 1503.02531)",
)
def ckd(
    task: Task,
    alpha: float = 0.1,
    temperature: float = 4.0,
    beta: float | None = None,
    scales: list[int | None] | None = None,
    scale_weights: str | None = None,
    feature_layers: list[str] | None = None,
) -> dict[str, LossTerm]:
    """alpha CE + (1 - alpha) T^2 KL(teacher || student) + beta MSGFF.

    MSGFF is the squared distance between the last convolution of the teacher's VGG and a stage of the student, on the
    smaller grid of the two. Features are normalised at each position, so that the term lies in [0, 4] whatever the
    networks' scales; the student's are projected to the teacher's channels. The term rises over the first tenth of the
    training and is off for the last tenth.

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
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "soft_targets": LossTerm(KDLoss("softmax", temperature=temperature), "logits", soft_target_weight(alpha)),
        **msgff_terms(task, beta, "channel_l2", RampAndOff(0.1, 0.9), scales, scale_weights, feature_layers),
    }
