"""Soft targets, the plain form of distillation."""

from __future__ import annotations

from ckdmed.losses.loss_correction import LossCorrection
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.classification.parts import soft_target_weight
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "kd",
    "classification",
    summary="soft targets",
    source="Hinton et al. 2015 (arXiv 1503.02531); alpha 0.1 and T 4 of the usual codes",
)
def kd(task: Task, alpha: float = 0.1, temperature: float = 4.0, correction: float = 0.0) -> dict[str, LossTerm]:
    """alpha CE + (1 - alpha) (T^2 KL(teacher || student) + correction C).

    Args:
        task: the task.
        alpha: weight of the cross entropy.
        temperature: T.
        correction: weight of what the label says of the teacher's errors, see
            :class:`~ckdmed.losses.LossCorrection`; made for teachers that have not seen the label.
    """
    soft = soft_target_weight(alpha)
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "soft_targets": LossTerm(KDLoss("softmax", temperature=temperature), "logits", soft),
        "correction": LossTerm(LossCorrection("softmax", temperature), "logits", soft * correction, with_label=True),
    }
