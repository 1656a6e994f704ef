"""Hard pseudo-labels of every teacher: the control for soft targets."""

from __future__ import annotations

from ckdmed.losses.hard_pseudo import HardPseudoLabelLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task
from ckdmed.methods.unimodal.deep_terms import after_warm_up


@method(
    "hard_pseudo",
    "unimodal",
    summary="every teacher's thresholded masks, by its share, as labels of the images that have none",
    source="Lee 2013, pseudo-label",
)
def hard_pseudo(task: Task, w_sup: float = 1.0, w_response: float = 1.0) -> dict[str, LossTerm]:
    """w_sup sup(z, y) on labelled images + w_response sum_i w_i sup(z, [sigmoid(z_i) > 0.5]) on the others.

    z are the student's logits, z_i those of teacher i with share w_i. Where every image has its label it is the student
    trained alone.

    Args:
        task: the task.
        w_sup, w_response: weights.
    """
    terms = {"supervised": LossTerm(task.supervised, "target", w_sup)}
    if w_response > 0:
        # masks take the task's loss as it is; that of exclusive classes reads class indices, pseudo-labels are one-hot
        loss = task.supervised if task.link == "sigmoid" else None
        pseudo = task.response(HardPseudoLabelLoss(loss, link=task.link))
        schedule = after_warm_up(task)
        terms["pseudo_labels"] = LossTerm(pseudo, "logits", w_response, samples="unlabelled", schedule=schedule)
    return terms
