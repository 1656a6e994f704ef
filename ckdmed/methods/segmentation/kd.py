"""Soft targets, the plain form of distillation."""

from __future__ import annotations

from ckdmed.losses.loss_correction import LossCorrection
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "kd",
    "segmentation",
    "regions",
    summary="soft targets",
    source="Hinton et al. 2015 (arXiv 1503.02531); T 2 for masks, see docs/losses.md; weight: docs/methods_compared.md",
)
def kd(
    task: Task, w_sup: float = 1.0, w_logit: float = 0.25, temperature: float = 2.0, correction: float = 0.0
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_logit (T^2 KL(teacher || student) + correction C).

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_logit: weight of the soft targets. 1 / T^2 makes their gradient about as large as that of the label in the
            first steps; with 1 students of the Figshare slices stayed behind those without a teacher.
        temperature: T. A higher one hands the loss of a mask to easy background.
        correction: weight of what the label says of the teacher's errors, see
            :class:`~ckdmed.losses.LossCorrection`; made for teachers that have not seen the label.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "soft_targets": LossTerm(KDLoss(task.link, temperature=temperature), "logits", w_logit),
        "correction": LossTerm(LossCorrection(task.link, temperature), "logits", w_logit * correction, with_label=True),
    }
