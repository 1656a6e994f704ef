"""Soft targets of every teacher."""

from __future__ import annotations

from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task
from ckdmed.methods.unimodal.deep_terms import after_warm_up


@method(
    "kd",
    "unimodal",
    summary="soft targets of every teacher by its share",
    source="Hinton et al. 2015 (arXiv 1503.02531)",
)
def kd(task: Task, w_sup: float = 1.0, w_response: float = 1.0, temperature: float = 2.0) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_response sum_i w_i T^2 KL(teacher_i || student).

    Args:
        task: the task.
        w_sup, w_response: weights.
        temperature: T.
    """
    terms = {"supervised": LossTerm(task.supervised, "target", w_sup)}
    if w_response > 0:
        response = task.response(KDLoss(task.link, temperature=temperature))
        terms["response"] = LossTerm(response, "logits", w_response, schedule=after_warm_up(task))
    return terms
