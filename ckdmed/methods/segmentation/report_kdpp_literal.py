"""KD++ as the reports print it: sums, attention by the spatial mean, edges of logits."""

from __future__ import annotations

from ckdmed.losses.attention_transfer import AttentionTransferLoss
from ckdmed.losses.edge import EdgeLoss
from ckdmed.losses.feature_mse import FeatureMSELoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import DistillationLoss, LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "report_kdpp_literal",
    "segmentation",
    "regions",
    summary="the reports' KD++ as printed: sums, attention by the spatial mean, edges of logits",
    source="the project's reports (S2, equations 6 to 13), which give no weights; its errata stand in docs/losses.md",
)
def report_kdpp_literal(
    task: Task,
    w_sup: float = 1.0,
    w_logit: float = 1.0,
    w_feat: float = 1e-8,
    w_att: float = 1e-5,
    w_edge: float = 1e-8,
    temperature: float = 4.0,
    feature_layers: list[str] | None = None,
) -> DistillationLoss:
    """w_sup (BCE + Dice) + w_logit KD + w_feat sum_k |F_s - P F_t|^2 + w_att sum_k |A_s - A_t|^2
    + w_edge |S(z_s) - S(y)|_1.

    Norms are sums over batch, channels and positions (of attention, over positions), so the terms grow with the image.
    A is the sum of squares over the channels divided by its spatial mean. S is the raw Sobel magnitude of the logits z,
    with zeros outside the image, whose border so becomes an edge. Two formulas cannot be taken as printed, as in
    ``report_kdpp``: a softmax over one channel teaches nothing, so KD is the binary divergence, and P is random,
    orthogonal and frozen.

    Args:
        task: the task.
        w_sup, w_logit: weights.
        w_feat, w_att, w_edge: weights; those of ``report_kdpp`` divided by about as much as a batch of 16 images of 256
            pixels makes a sum greater than a mean.
        temperature: of the soft targets.
        feature_layers: compared stages of the decoder, all by default; none for an empty list.
    """
    terms = {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "soft_targets": LossTerm(KDLoss(task.link, temperature=temperature), "logits", w_logit),
    }
    if feature_layers is None or feature_layers:
        layers = task.maps(feature_layers)
        each = [1.0] * len(layers)
        distance = FeatureMSELoss(reduction="sum", resize="min")
        terms["features"] = LossTerm(distance, "features", w_feat, layers=layers, layer_weights=each)
        terms["attention"] = LossTerm(
            AttentionTransferLoss("seed"), "features", w_att, layers=layers, layer_weights=each, projected=False
        )
    edges = EdgeLoss("mask", link=task.link, normalize=False, padding="zeros", of="logits", reduction="sum")
    terms["edges"] = LossTerm(edges, "target", w_edge)
    return DistillationLoss(terms, projection_side="teacher")
