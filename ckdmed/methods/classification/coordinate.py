"""Coordinate distillation: soft targets and the activity of channels along each image axis."""

from __future__ import annotations

from ckdmed.losses.coordinate import CoordinateLoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.classification.parts import soft_target_weight
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "coordinate",
    "classification",
    summary="soft targets and the activity along each image axis",
    source="after Qi et al. 2022, a reconstruction",
)
def coordinate(
    task: Task, alpha: float = 0.1, temperature: float = 4.0, beta: float = 0.1, feature_layers: list[str] | None = None
) -> dict[str, LossTerm]:
    """alpha CE + (1 - alpha) T^2 KL(teacher || student) + beta times the distance of unit profiles along the axes.

    The paper's equations were not to be had; profiles are those of coordinate attention (arXiv 2103.02907).

    Args:
        task: the task.
        alpha: weight of the cross entropy.
        temperature: T.
        beta: weight of the profiles, 0.01 to 1 in a sweep.
        feature_layers: compared stages, see :func:`~ckdmed.networks.classification_student_taps`; "msgff" by default.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "soft_targets": LossTerm(KDLoss("softmax", temperature=temperature), "logits", soft_target_weight(alpha)),
        "coordinates": LossTerm(CoordinateLoss(resize="min"), "features", beta, layers=task.maps(feature_layers)),
    }
