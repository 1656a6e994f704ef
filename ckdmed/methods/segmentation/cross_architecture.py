"""Cross-architecture distillation between a transformer and a convolutional network."""

from __future__ import annotations

from ckdmed.losses.total import LossTerm
from ckdmed.methods.cross_terms import cross_terms
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "cross_architecture",
    "segmentation",
    "regions",
    summary="a transformer's attention and tokens out of a convolutional map, and a discriminator between them",
    source="Liu et al. 2022 (arXiv 2207.05273): PCA and GL projectors, multi-view adversarial learning",
    training={"student_view": "masked"},
)
def cross_architecture(task: Task, w_sup: float = 1.0, w_feat: float = 1.0, w_adv: float = 1.0) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + lambda w_feat (attention + tokens + w_adv adversarial), lambda rising late to 0.2.

    The student sees another view of the image than the teacher (setting ``student_view``), of those that keep
    positions. See :func:`~ckdmed.methods.cross_terms.cross_terms` for the terms.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_feat: weight of all terms of the projections.
        w_adv: of it, the discriminator's share.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        **cross_terms(task, w_feat, w_adv),
    }
