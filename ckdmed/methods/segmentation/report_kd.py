"""The first total of the reports that the project started from, taken literally."""

from __future__ import annotations

from ckdmed.losses.logit_mse import LogitMSELoss
from ckdmed.losses.supervised import binary_cross_entropy
from ckdmed.losses.total import DistillationLoss, LossTerm
from ckdmed.methods.feature_terms import feature_distance
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "report_kd",
    "segmentation",
    "regions",
    summary="the reports' first total: squared distance of logits and features",
    source="the project's reports (S2, equations 6 to 8); its errata stand in docs/losses.md",
)
def report_kd(
    task: Task,
    w_sup: float = 0.1,
    w_logit: float = 0.9,
    w_feat: float = 1.0,
    temperature: float = 4.0,
    feature_layers: list[str] | None = None,
    scales: list[int | None] | None = None,
    scale_weights: str | None = None,
) -> DistillationLoss:
    """w_sup BCE + w_logit T^2 MSE(z_s, z_t) + w_feat sum_k MSE(F_s, P F_t).

    T never divides the logits, so T^2 = 16 is a plain factor that drowns the labels. P acts on the teacher; trained
    there, it and the student's features would shrink to nothing, so it is random, orthogonal and frozen. Norms are
    means, not sums, so that weights do not depend on the image size.

    Args:
        task: the task, of binary channels.
        w_sup, w_logit, w_feat: weights; the reports' alpha is w_sup, and w_logit is 1 - alpha.
        temperature: T.
        feature_layers: compared stages of the decoder, all by default; none for an empty list.
        scales, scale_weights: see :func:`~ckdmed.methods.feature_terms.feature_distance`.

    Raises:
        ValueError: exclusive classes.
    """
    if task.link != "sigmoid":
        raise ValueError(f"the method 'report_kd' is binary (link 'sigmoid'), got link={task.link!r}.")
    terms = {
        "supervised": LossTerm(binary_cross_entropy(), "target", w_sup),
        "logit_mse": LossTerm(LogitMSELoss(literal_temperature=temperature), "logits", w_logit),
    }
    if feature_layers is None or feature_layers:
        layers = task.maps(feature_layers)
        distance = feature_distance(scales, scale_weights)
        each = [1.0] * len(layers)
        terms["features"] = LossTerm(distance, "features", w_feat, layers=layers, layer_weights=each)
    return DistillationLoss(terms, projection_side="teacher")
