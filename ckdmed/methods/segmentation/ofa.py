"""OFA: early exits of the student learn the teacher's masks, for networks whose features have nothing in common."""

from __future__ import annotations

from ckdmed.losses.ofa import ExitsLoss, OFALoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "ofa",
    "segmentation",
    "regions",
    summary="early exits of the student learn the teacher's output and the label",
    source="Hao et al. 2023 (arXiv 2310.19444) and its code: weights 1, epsilon 1.5; for masks of this project",
)
def ofa(
    task: Task,
    w_sup: float = 1.0,
    w_logit: float = 1.0,
    w_feat: float = 1.0,
    epsilon: float = 1.5,
    feature_layers: list[str] | None = None,
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_logit OFA(z_s, z_t, y) + w_feat sum_k OFA(exit_k, z_t, y).

    On images without a label, what the teacher finds most likely takes the label's place (a choice of this project:
    the source has labels everywhere).

    An exit is a 1x1 convolution of one of the student's stages, compared at that stage's resolution, see
    :class:`~ckdmed.losses.OFALoss` and :class:`~ckdmed.losses.ExitsLoss`. Any teacher will do.

    Args:
        task: the task.
        w_sup, w_logit, w_feat: weights of the supervised term, the last exit and the others.
        epsilon: how much more the label's class counts; at least 1.
        feature_layers: the student's stages with an exit; all by default.

    Raises:
        ValueError: a student without such stages, or none chosen.
    """
    if not task.exits:
        raise ValueError("this method puts exits on the student's stages, but none are tapped: choose another method.")
    if unknown := [name for name in feature_layers or () if name not in task.exits]:
        raise ValueError(f"the layers {unknown} are not among the student's, {list(task.exits)}.")
    if feature_layers is not None and not feature_layers:
        raise ValueError("this method needs at least one exit: feature_layers cannot be an empty list.")
    layers = tuple(feature_layers or task.exits)
    loss = OFALoss(epsilon, task.link)
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "output": LossTerm(loss, "logits", w_logit, with_label=True, teacher_labels=task.link),
        "exits": LossTerm(
            ExitsLoss(layers, loss), "exits", w_feat, layers=layers, with_label=True, teacher_labels=task.link
        ),
    }
