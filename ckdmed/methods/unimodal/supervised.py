"""The student trained alone: the control without teachers."""

from __future__ import annotations

from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method("supervised", "unimodal", summary="the student trained alone, without teachers")
def supervised(task: Task, w_sup: float = 1.0) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) and nothing else.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
    """
    return {"supervised": LossTerm(task.supervised, "target", w_sup)}
