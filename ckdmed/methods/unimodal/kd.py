"""Soft targets of every teacher."""

from __future__ import annotations

from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task
from ckdmed.methods.unimodal.response_terms import response_terms


@method(
    "kd",
    "unimodal",
    summary="soft targets of every teacher by its share, of each position and of the whole mask",
    source="Hinton et al. 2015 (arXiv 1503.02531), with soft Dice as the label has Dice; docs/methods_compared.md",
)
def kd(
    task: Task, w_sup: float = 1.0, w_response: float = 0.5, w_dice: float = 0.5, temperature: float = 2.0
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_response sum_i w_i T^2 KL(teacher_i || student) + w_dice sum_i w_i (squared soft Dice).

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_response: weight of the soft targets, a mean over all positions, most of which show no tumour.
        w_dice: weight of the overlap with the teachers' probabilities, see
            :func:`~ckdmed.methods.unimodal.response_terms.response_terms`. 0 for the formula of Hinton et al.
        temperature: T, of the soft targets.
    """
    supervised = LossTerm(task.supervised, "target", w_sup)
    return {"supervised": supervised, **response_terms(task, w_response, w_dice, temperature)}
