"""Soft targets, the plain form of distillation."""

from __future__ import annotations

from ckdmed.losses.loss_correction import LossCorrection
from ckdmed.losses.soft_dice import SoftDiceKDLoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "kd",
    "segmentation",
    "regions",
    summary="soft targets, of each position and of the whole mask",
    source="Hinton et al. 2015 (arXiv 1503.02531), with soft Dice as the label has Dice; docs/methods_compared.md",
)
def kd(
    task: Task,
    w_sup: float = 1.0,
    w_logit: float = 0.5,
    w_dice: float = 0.5,
    temperature: float = 2.0,
    correction: float = 0.0,
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_logit (T^2 KL(teacher || student) + correction C) + w_dice squared soft Dice.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_logit: weight of the soft targets, a mean over all positions, most of which show no tumour. Alone
            (``w_dice`` 0) they held students of the Figshare slices back, with 1 more than with 0.25.
        w_dice: weight of the overlap with the teacher's probabilities, see :class:`~ckdmed.losses.SoftDiceKDLoss`. 0
            for the formula of Hinton et al.
        temperature: T, of the soft targets. A higher one hands the loss of a mask to easy background.
        correction: weight of what the label says of the teacher's errors, see
            :class:`~ckdmed.losses.LossCorrection`; made for teachers that have not seen the label, and for soft targets
            without soft Dice.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "soft_targets": LossTerm(KDLoss(task.link, temperature=temperature), "logits", w_logit),
        "soft_dice": LossTerm(SoftDiceKDLoss(task.link), "logits", w_dice),
        "correction": LossTerm(LossCorrection(task.link, temperature), "logits", w_logit * correction, with_label=True),
    }
