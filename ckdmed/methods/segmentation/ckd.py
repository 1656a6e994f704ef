"""The project's own method for segmentation: soft targets, soft Dice, features, attention and edges."""

from __future__ import annotations

from ckdmed.losses.attention_transfer import AttentionTransferLoss
from ckdmed.losses.edge import EdgeLoss
from ckdmed.losses.schedules import RampAndOff
from ckdmed.losses.soft_dice import SoftDiceKDLoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.feature_terms import feature_distance
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "ckd",
    "segmentation",
    "regions",
    summary="soft targets with soft Dice, features, attention maps and edges",
    source="this project, after KD++ of its reports",
)
def ckd(
    task: Task,
    w_sup: float = 1.0,
    w_logit: float = 1.0,
    w_feat: float = 0.1,
    w_att: float = 0.5,
    w_edge: float = 0.1,
    temperature: float = 2.0,
    feature_layers: list[str] | None = None,
    scales: list[int | None] | None = None,
    scale_weights: str | None = None,
    edge_weights: str = "uniform",
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_logit (half KD, half squared soft Dice) + w_feat MSE(P F_s, F_t) between features
    normalised at each position + w_att attention transfer + w_edge Sobel edges of the label.

    The feature and attention terms rise over the first tenth of the training and are off for the last tenth, so that
    its end is about the mask. They are means over the layers.

    Args:
        task: the task.
        w_sup, w_logit, w_feat, w_att, w_edge: weights.
        temperature: of the soft targets.
        feature_layers: compared stages of the decoder; the two deepest by default: the maps of the others are most of
            the terms' price (see benchmarks/step_speed.py) and hardly more than the logits are. None for an empty list.
        scales, scale_weights: see :func:`~ckdmed.methods.feature_terms.feature_distance`.
        edge_weights: see :class:`~ckdmed.losses.EdgeLoss`.
    """
    terms = {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "soft_targets": LossTerm(KDLoss(task.link, temperature=temperature), "logits", 0.5 * w_logit),
        "soft_dice": LossTerm(SoftDiceKDLoss(task.link), "logits", 0.5 * w_logit),
    }
    if feature_layers is None or feature_layers:
        layers = task.maps(feature_layers, deepest=2)
        rising = RampAndOff(0.1, 0.9)
        distance = feature_distance(scales, scale_weights, normalize="channel_l2")
        terms["features"] = LossTerm(distance, "features", w_feat, layers=layers, schedule=rising)
        terms["attention"] = LossTerm(
            AttentionTransferLoss("l2sum"), "features", w_att, layers=layers, projected=False, schedule=rising
        )
    terms["edges"] = LossTerm(EdgeLoss("mask", link=task.link, weights=edge_weights), "target", w_edge)
    return terms
