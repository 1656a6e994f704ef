"""Function matching: the teacher's output alone, on the student's own view of many mixed images."""

from __future__ import annotations

from ckdmed.losses.soft_dice import SoftDiceKDLoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "function_matching",
    "segmentation",
    "regions",
    summary="the teacher's output alone, on mixed and strongly augmented images that both see",
    source="Beyer et al. 2022 (arXiv 2106.05237); T 1, mixup with a uniform share",
    training={"mixup": 1.0, "augmentation": "strong"},
)
def function_matching(
    task: Task, w_sup: float = 0.0, w_logit: float = 1.0, w_dice: float = 0.0, temperature: float = 1.0
) -> dict[str, LossTerm]:
    """w_logit T^2 KL(teacher || student) + w_dice squared soft Dice, and with w_sup the label's loss beside them.

    Teacher and student see the same view of the same mixed images, so the teacher runs in every step. The student is to
    match a function, wherever it is evaluated, so a training may be many times as long as one on labels.

    Args:
        task: the task.
        w_sup: weight of the supervised term; 0 of the paper.
        w_logit: weight of the soft targets, a mean over all positions, most of which show no tumour.
        w_dice: weight of the overlap with the teacher's probabilities, see :class:`~ckdmed.losses.SoftDiceKDLoss`; 0 of
            the paper, which has classes of images. ``kd`` gained from as much of it as of the soft targets.
        temperature: T, of the soft targets.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "soft_targets": LossTerm(KDLoss(task.link, temperature=temperature), "logits", w_logit),
        "soft_dice": LossTerm(SoftDiceKDLoss(task.link), "logits", w_dice),
    }
