"""DIST: correlation with every teacher instead of equality."""

from __future__ import annotations

from ckdmed.losses.dist import DISTLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task
from ckdmed.methods.unimodal.deep_terms import after_warm_up


@method(
    "dist",
    "unimodal",
    summary="correlation with every teacher instead of equality",
    source="Huang et al. 2022 (arXiv 2205.10536)",
)
def dist(task: Task, w_sup: float = 1.0, w_response: float = 1.0, temperature: float = 1.0) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_response sum_i w_i T^2 (1 - correlation of the probabilities over positions).

    Args:
        task: the task.
        w_sup, w_response: weights.
        temperature: T.
    """
    terms = {"supervised": LossTerm(task.supervised, "target", w_sup)}
    if w_response > 0:
        response = task.response(DISTLoss(temperature=temperature, link=task.link))
        terms["correlation"] = LossTerm(response, "logits", w_response, schedule=after_warm_up(task))
    return terms
