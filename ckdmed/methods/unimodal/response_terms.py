"""Soft targets and soft Dice of several teachers, each by its share."""

from __future__ import annotations

from ckdmed.losses.soft_dice import SoftDiceKDLoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.task import Task
from ckdmed.methods.unimodal.deep_terms import after_warm_up

__all__ = ["response_terms"]


def response_terms(task: Task, w_response: float, w_dice: float, temperature: float) -> dict[str, LossTerm]:
    """w_response sum_i w_i T^2 KL(z_i || z) + w_dice sum_i w_i (squared soft Dice of z_i and z).

    z are the student's logits, z_i those of teacher i with share w_i. The overlap, which small regions need, is taken
    over the samples in which a teacher finds the region.

    Args:
        task: the task.
        w_response, w_dice: weights; there is no term of weight 0.
        temperature: T, of the divergence.
    """
    schedule, terms = after_warm_up(task), {}
    if w_response > 0:
        divergence = task.response(KDLoss(task.link, temperature=temperature))
        terms["response"] = LossTerm(divergence, "logits", w_response, schedule=schedule)
    if w_dice > 0:
        overlap = task.response(SoftDiceKDLoss(task.link, skip_empty=True))
        terms["response_dice"] = LossTerm(overlap, "logits", w_dice, schedule=schedule)
    return terms
