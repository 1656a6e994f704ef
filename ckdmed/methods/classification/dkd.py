"""Decoupled distillation: the class of the label and the others separately."""

from __future__ import annotations

from ckdmed.losses.dkd import DKDLoss
from ckdmed.losses.schedules import LinearRamp
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "dkd",
    "classification",
    summary="decoupled: the class of the label and the others separately",
    source="Zhao et al. 2022 (arXiv 2203.08679), equation 7; weights and warm-up of mdistiller",
)
def dkd(task: Task, alpha: float = 1.0, temperature: float = 4.0, beta: float = 8.0) -> dict[str, LossTerm]:
    """alpha CE + T^2 (TCKD + beta NCKD).

    TCKD is the divergence of (class of the label, rest), NCKD that of the classes within the rest. On images without a
    label, the class that the teacher finds most likely takes the label's place (a choice of this project: the source
    has labels everywhere).

    The term rises over the first twelfth of the training, 20 of the paper's 240 epochs. It needs one class an image,
    so it goes without mixup.

    Args:
        task: the task.
        alpha: weight of the cross entropy.
        temperature: T.
        beta: weight of the other classes (NCKD).
    """
    loss = DKDLoss(alpha=1.0, beta=beta, temperature=temperature)
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "decoupled": LossTerm(
            loss, "logits", with_label=True, teacher_labels="softmax", schedule=LinearRamp(0, 1 / 12)
        ),
    }
