"""DIST: correlation with the teacher instead of equality."""

from __future__ import annotations

from ckdmed.losses.dist import DISTLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "dist",
    "segmentation",
    "regions",
    summary="correlation with the teacher instead of equality",
    source="Huang et al. 2022 (arXiv 2205.10536), equations 6 to 9, weights 1, T 1",
)
def dist(task: Task, w_sup: float = 1.0, w_logit: float = 1.0, temperature: float = 1.0) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_logit T^2 (1 - correlation of the probabilities over positions).

    Overlapping regions and one mask have no relation of classes at a position: there it is the correlation over the
    positions alone.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_logit: weight of the correlation.
        temperature: T.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "correlation": LossTerm(DISTLoss(temperature=temperature, link=task.link), "logits", w_logit),
    }
