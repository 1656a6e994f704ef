"""The student trained alone: the control without a teacher."""

from __future__ import annotations

from ckdmed.losses.edge import EdgeLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method("supervised", "segmentation", "regions", summary="the student trained alone, without a teacher")
def supervised(task: Task, w_sup: float = 1.0, w_edge: float = 0.0) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_edge Sobel edges of the label.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_edge: weight of the edges of the label.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "edges": LossTerm(EdgeLoss("mask", link=task.link), "target", w_edge),
    }
