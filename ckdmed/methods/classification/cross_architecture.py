"""Cross-architecture distillation between a transformer and a convolutional network."""

from __future__ import annotations

from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.classification.parts import soft_target_weight
from ckdmed.methods.cross_terms import cross_terms
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "cross_architecture",
    "classification",
    summary="a transformer's attention and tokens out of a convolutional map, and a discriminator between them",
    source="Liu et al. 2022 (arXiv 2207.05273): PCA and GL projectors, multi-view adversarial learning",
    training={"student_view": "masked"},
)
def cross_architecture(
    task: Task, alpha: float = 1.0, temperature: float = 4.0, beta: float = 1.0, w_adv: float = 1.0
) -> dict[str, LossTerm]:
    """alpha CE + (1 - alpha) KD + lambda beta (attention + tokens + w_adv adversarial), lambda rising late to 0.2.

    The student sees another view of the image than the teacher (setting ``student_view``). See
    :func:`~ckdmed.methods.cross_terms.cross_terms` for the terms.

    Args:
        task: the task.
        alpha: weight of the cross entropy; 1 of the paper, which has no soft targets.
        temperature: of the soft targets.
        beta: weight of all terms of the projections.
        w_adv: of it, the discriminator's share.
    """
    soft = KDLoss("softmax", temperature=temperature)
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "soft_targets": LossTerm(soft, "logits", soft_target_weight(alpha)),
        **cross_terms(task, beta, w_adv),
    }
