"""Class affinity: how the predicted maps of the regions overlap."""

from __future__ import annotations

from ckdmed.losses.class_affinity import ClassAffinityLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "class_affinity",
    "regions",
    summary="how the maps of the regions overlap",
    source="class affinity of MSKD and LCOV-Net; weight 0.4, that of the output in the published configuration",
)
def class_affinity(task: Task, w_sup: float = 1.0, w_logit: float = 0.4) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_logit (1 - cosine of the region-by-region overlaps). One mask has no affinity.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_logit: weight of the affinity.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "affinity": LossTerm(ClassAffinityLoss(task.link), "logits", w_logit),
    }
