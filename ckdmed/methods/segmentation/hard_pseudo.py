"""Hard pseudo-labels: the control for soft targets."""

from __future__ import annotations

from torch import nn

from ckdmed.losses.hard_pseudo import HardPseudoLabelLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "hard_pseudo",
    "segmentation",
    "regions",
    summary="the teacher's thresholded masks as labels of the images that have none",
    source="Lee 2013, pseudo-label",
)
def hard_pseudo(task: Task, w_sup: float = 1.0, w_logit: float = 1.0) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) on labelled images + w_logit of the same loss against the teacher's masks on the others.

    Where every image has its label it is the student trained alone.

    Args:
        task: the task.
        w_sup, w_logit: weights.
    """
    # masks take the task's loss as it is; that of exclusive classes reads class indices, and pseudo-labels are one-hot
    loss: nn.Module | None = task.supervised if task.link == "sigmoid" else None
    pseudo = HardPseudoLabelLoss(loss, link=task.link)
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "pseudo_labels": LossTerm(pseudo, "logits", w_logit, samples="unlabelled"),
    }
