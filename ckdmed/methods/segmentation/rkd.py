"""Relational distillation: distances and angles between the images of a batch."""

from __future__ import annotations

from ckdmed.losses.relational import RelationalLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "rkd",
    "segmentation",
    "regions",
    summary="relational: distances and angles between the images of a batch",
    source="Park et al. 2019 (arXiv 1904.05068), distances 25 and angles 50",
)
def rkd(
    task: Task, w_sup: float = 1.0, w_feat: float = 1.0, feature_layers: list[str] | None = None
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_feat (25 distances + 50 angles) between the means of the maps over their positions.

    Left out of a batch of fewer than three, in which there are no angles.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_feat: weight of the relations.
        feature_layers: compared stages of the decoder; the deepest by default.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "relations": LossTerm(
            RelationalLoss(),
            "features",
            w_feat,
            layers=task.maps(feature_layers, deepest=1),
            projected=False,
            min_samples=3,
        ),
    }
