"""What methods for classification share: the weight of soft targets, and MSGFF."""

from __future__ import annotations

from ckdmed.losses.schedules import RampAndOff
from ckdmed.losses.total import LossTerm
from ckdmed.methods.feature_terms import feature_distance
from ckdmed.methods.task import Task

__all__ = ["msgff_terms", "soft_target_weight"]


def msgff_terms(
    task: Task,
    beta: float | None,
    normalize: str,
    schedule: RampAndOff | None,
    scales: list[int | None] | None,
    scale_weights: str | None,
    feature_layers: list[str] | None = None,
) -> dict[str, LossTerm]:
    """MSGFF between the maps that both networks have, or no term where the teacher has none and none is requested.

    Raises:
        ValueError: a weight, scales, weights of scales or layers for networks without a map in common; layers beside a
            weight of 0.
    """
    if not task.layers and beta is None and scales is None and scale_weights is None and feature_layers is None:
        return {}
    loss = feature_distance(scales, scale_weights, normalize)
    if beta == 0 and feature_layers:
        raise ValueError("feature_layers are compared only where beta is above 0; leave one of the two out.")
    if feature_layers == [] and (beta or scales or scale_weights):
        raise ValueError("feature_layers=[] compares no features, so beta and scales have no effect; leave them out.")
    if beta == 0 or feature_layers == []:
        return {}
    weight = 1.0 if beta is None else beta
    return {"msgff": LossTerm(loss, "features", weight, layers=task.maps(feature_layers), schedule=schedule)}


def soft_target_weight(alpha: float) -> float:
    """1 - alpha, the weight of the soft targets beside the label's.

    Raises:
        ValueError: alpha outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}.")
    return 1.0 - alpha
