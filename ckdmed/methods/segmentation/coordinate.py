"""Coordinate distillation: soft targets and the activity of channels along each image axis."""

from __future__ import annotations

from ckdmed.losses.coordinate import CoordinateLoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "coordinate",
    "segmentation",
    "regions",
    summary="soft targets and the activity along each image axis",
    source="after Qi et al. 2022, a reconstruction; weight 0.1 of soft targets' 1",
)
def coordinate(
    task: Task,
    w_sup: float = 1.0,
    w_logit: float = 1.0,
    w_feat: float = 0.1,
    temperature: float = 2.0,
    feature_layers: list[str] | None = None,
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_logit T^2 KL(teacher || student) + w_feat mean_k |profiles_s - profiles_t|^2.

    Profiles are the mean activity of each channel along each image axis, scaled to unit length.

    The paper's equations were not to be had; profiles are those of coordinate attention (arXiv 2103.02907).

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_logit: weight of the soft targets.
        w_feat: weight of the profiles, 0.01 to 1 in a sweep.
        temperature: T.
        feature_layers: compared stages of the decoder; the deepest by default.
    """
    layers = task.maps(feature_layers, deepest=1)
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "soft_targets": LossTerm(KDLoss(task.link, temperature=temperature), "logits", w_logit),
        "coordinates": LossTerm(CoordinateLoss(resize="min"), "features", w_feat, layers=layers),
    }
