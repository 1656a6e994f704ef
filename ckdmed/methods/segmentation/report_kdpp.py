"""KD++, the second total of the reports that the project started from."""

from __future__ import annotations

from ckdmed.losses.attention_transfer import AttentionTransferLoss
from ckdmed.losses.edge import EdgeLoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import DistillationLoss, LossTerm
from ckdmed.methods.feature_terms import feature_distance
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "report_kdpp",
    "segmentation",
    "regions",
    summary="the reports' KD++: soft targets, features, attention maps and edges",
    source="the project's reports (S2, equations 6 to 13), which give no weights; its errata stand in docs/losses.md",
)
def report_kdpp(
    task: Task,
    w_sup: float = 1.0,
    w_logit: float = 1.0,
    w_feat: float = 0.1,
    w_att: float = 0.5,
    w_edge: float = 0.1,
    temperature: float = 4.0,
    feature_layers: list[str] | None = None,
    scales: list[int | None] | None = None,
    scale_weights: str | None = None,
    edge_weights: str = "uniform",
) -> DistillationLoss:
    """w_sup (BCE + Dice) + w_logit KD + w_feat sum_k MSE(F_s, P F_t) + w_att attention transfer + w_edge Sobel edges.

    As printed it takes a softmax over the one channel of a mask, which is the constant 1 and teaches nothing: the
    binary divergence stands in its place. P is random, orthogonal and frozen, see ``report_kd``.

    Args:
        task: the task.
        w_sup, w_logit, w_feat, w_att, w_edge: weights; as those of ``ckd``, without ramps.
        temperature: of the soft targets.
        feature_layers: compared stages of the decoder, all by default; none for an empty list.
        scales, scale_weights: see :func:`~ckdmed.methods.feature_terms.feature_distance`.
        edge_weights: see :class:`~ckdmed.losses.EdgeLoss`.
    """
    terms = {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "soft_targets": LossTerm(KDLoss(task.link, temperature=temperature), "logits", w_logit),
    }
    if feature_layers is None or feature_layers:
        layers = task.maps(feature_layers)
        each = [1.0] * len(layers)
        distance = feature_distance(scales, scale_weights)
        terms["features"] = LossTerm(distance, "features", w_feat, layers=layers, layer_weights=each)
        terms["attention"] = LossTerm(
            AttentionTransferLoss("l2sum"), "features", w_att, layers=layers, layer_weights=each, projected=False
        )
    terms["edges"] = LossTerm(EdgeLoss("mask", link=task.link, weights=edge_weights), "target", w_edge)
    return DistillationLoss(terms, projection_side="teacher")
