"""Attention transfer: where the features are large, whatever their channels."""

from __future__ import annotations

from ckdmed.losses.attention_transfer import AttentionTransferLoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.classification.parts import soft_target_weight
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "at",
    "classification",
    summary="soft targets and where features are large",
    source="Zagoruyko and Komodakis 2017 (arXiv 1612.03928); form and weights of the authors' code",
)
def at(
    task: Task,
    alpha: float = 0.1,
    temperature: float = 4.0,
    beta: float = 1000.0,
    feature_layers: list[str] | None = None,
) -> dict[str, LossTerm]:
    """alpha CE + (1 - alpha) T^2 KL(teacher || student) + beta mean (A_s/|A_s| - A_t/|A_t|)^2.

    A is the sum of squares over the channels.

    Args:
        task: the task.
        alpha: weight of the cross entropy.
        temperature: T.
        beta: weight of the maps.
        feature_layers: compared stages, see :func:`~ckdmed.networks.classification_student_taps`; "msgff" by default.
    """
    attention = AttentionTransferLoss("code")
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "soft_targets": LossTerm(KDLoss("softmax", temperature=temperature), "logits", soft_target_weight(alpha)),
        "attention": LossTerm(attention, "features", beta, layers=task.maps(feature_layers), projected=False),
    }
