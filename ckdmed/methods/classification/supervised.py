"""The student trained alone: the control without a teacher."""

from __future__ import annotations

from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method("supervised", "classification", summary="the student trained alone, without a teacher")
def supervised(task: Task) -> dict[str, LossTerm]:
    """The cross entropy of the labels and nothing else.

    Args:
        task: the task.
    """
    return {"supervised": LossTerm(task.supervised, "target")}
