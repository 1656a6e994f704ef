"""ReviewKD: deeper stages of the student flow into shallower ones before they are compared."""

from __future__ import annotations

from ckdmed.losses.review import ReviewLoss
from ckdmed.losses.schedules import LinearRamp
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "reviewkd",
    "segmentation",
    "regions",
    summary="features of fused stages, at full size and pooled",
    source="Chen et al. 2021, ReviewKD (arXiv 2104.09044) and its code: weight 1, warm-up of 20 of 240 epochs",
)
def reviewkd(
    task: Task, w_sup: float = 1.0, w_feat: float = 1.0, feature_layers: list[str] | None = None
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_feat sum_k HCL(ABF_k(F_s), F_t), see :class:`~ckdmed.losses.ReviewLoss`.

    The term rises over the first twelfth of the training.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_feat: weight of the features.
        feature_layers: compared stages of the decoder, deepest first; all by default.
    """
    layers = tuple(name for name in task.layers if name in task.maps(feature_layers))
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "review": LossTerm(
            ReviewLoss(layers),
            "features",
            w_feat,
            layers=layers,
            projected=False,
            joint=True,
            schedule=LinearRamp(0, 1 / 12),
        ),
    }
