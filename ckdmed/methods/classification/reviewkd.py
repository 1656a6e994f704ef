"""ReviewKD: deeper stages of the student flow into shallower ones before they are compared."""

from __future__ import annotations

from ckdmed.losses.review import ReviewLoss
from ckdmed.losses.schedules import LinearRamp
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "reviewkd",
    "classification",
    summary="features of fused stages, at full size and pooled",
    source="Chen et al. 2021, ReviewKD (arXiv 2104.09044) and its code: weight 1, warm-up of 20 of 240 epochs",
)
def reviewkd(
    task: Task, alpha: float = 1.0, beta: float = 1.0, feature_layers: list[str] | None = None
) -> dict[str, LossTerm]:
    """alpha CE + beta sum_k HCL(ABF_k(F_s), F_t), see :class:`~ckdmed.losses.ReviewLoss`.

    The term rises over the first twelfth of the training. With one stage in common nothing flows, and what is left is
    HCL behind two convolutions.

    Args:
        task: the task.
        alpha: weight of the cross entropy.
        beta: weight of the features.
        feature_layers: compared stages, see :func:`~ckdmed.networks.classification_student_taps`; "msgff" by default.
    """
    layers = task.maps(feature_layers)
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "review": LossTerm(
            ReviewLoss(layers),
            "features",
            beta,
            layers=layers,
            projected=False,
            joint=True,
            schedule=LinearRamp(0, 1 / 12),
        ),
    }
