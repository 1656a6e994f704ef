"""Multi-scale geometric feature fusion: features pooled to several scales."""

from __future__ import annotations

from ckdmed.losses.total import LossTerm
from ckdmed.methods.feature_terms import feature_distance
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "msgff",
    "segmentation",
    "regions",
    summary="features at several scales, with weights that may learn",
    source="multi-scale geometric feature fusion of the project's reports (S1, S2)",
)
def msgff(
    task: Task,
    w_sup: float = 1.0,
    w_feat: float = 1.0,
    feature_layers: list[str] | None = None,
    scales: list[int | None] | None = None,
    scale_weights: str | None = None,
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_feat mean_k sum_s a_s MSE(pool_s P F_s, pool_s F_t).

    Features are normalised at each position; a_s are the weights of the scales, which sum to 1.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_feat: weight of the features.
        feature_layers: compared stages of the decoder; all by default.
        scales: cells an axis, None for the maps' own resolution; that, 1, 2 and 4 by default.
        scale_weights: "uniform" (default), or "learned": one weight per scale that trains with the student.
    """
    layers = task.maps(feature_layers)
    distance = feature_distance(scales or [None, 1, 2, 4], scale_weights, normalize="channel_l2")
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "features": LossTerm(distance, "features", w_feat, layers=layers),
    }
