"""Relational distillation: distances and angles between the images of a batch."""

from __future__ import annotations

from ckdmed.losses.relational import RelationalLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "rkd",
    "classification",
    summary="relational: distances and angles between the images of a batch",
    source="Park et al. 2019 (arXiv 1904.05068), distances 25 and angles 50",
)
def rkd(
    task: Task, alpha: float = 1.0, beta: float = 1.0, feature_layers: list[str] | None = None
) -> dict[str, LossTerm]:
    """alpha CE + beta (25 distances + 50 angles) between the means of the maps over their positions.

    Left out of a batch of fewer than three, in which there are no angles.

    Args:
        task: the task.
        alpha: weight of the cross entropy.
        beta: weight of the relations.
        feature_layers: compared stages, see :func:`~ckdmed.networks.classification_student_taps`; "msgff" by default.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "relations": LossTerm(
            RelationalLoss(), "features", beta, layers=task.maps(feature_layers), projected=False, min_samples=3
        ),
    }
