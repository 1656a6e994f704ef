"""OFA: early exits of the student learn the teacher's classes, for networks whose features have nothing in common."""

from __future__ import annotations

from ckdmed.losses.ofa import ExitsLoss, OFALoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "ofa",
    "classification",
    summary="early exits of the student learn the teacher's output and the label",
    source="Hao et al. 2023 (arXiv 2310.19444) and its code: weights 1, epsilon 1.5",
)
def ofa(task: Task, alpha: float = 1.0, beta: float = 1.0, epsilon: float = 1.5) -> dict[str, LossTerm]:
    """alpha CE + OFA(z_s, z_t, y) + beta sum_k OFA(exit_k, z_t, y).

    On images without a label, what the teacher finds most likely takes the label's place (a choice of this project:
    the source has labels everywhere).

    An exit is made of separable convolutions, the mean over the positions and a linear layer, see
    :class:`~ckdmed.losses.OFALoss` and :class:`~ckdmed.losses.ExitsLoss`. Any teacher will do.

    Args:
        task: the task.
        alpha: weight of the cross entropy.
        beta: weight of the exits.
        epsilon: how much more the label's class counts; at least 1.

    Raises:
        ValueError: a student without such stages.
    """
    if not task.exits:
        raise ValueError("this method puts exits on the student's stages, but none are tapped: choose another method.")
    loss = OFALoss(epsilon, "softmax")
    # the exits normalise over the batch, which of one image with a grid of one position has nothing to normalise
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "output": LossTerm(loss, "logits", 1.0, with_label=True, teacher_labels="softmax"),
        "exits": LossTerm(
            ExitsLoss(task.exits, loss),
            "exits",
            beta,
            layers=task.exits,
            with_label=True,
            teacher_labels="softmax",
            min_samples=2,
        ),
    }
