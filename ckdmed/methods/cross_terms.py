"""The terms of cross-architecture distillation, the same for classes and for masks."""

from __future__ import annotations

from ckdmed.losses.adversarial import AdversarialLoss
from ckdmed.losses.cross_attention import PartialCrossAttentionLoss
from ckdmed.losses.feature_mse import FeatureMSELoss
from ckdmed.losses.schedules import DelayedRamp
from ckdmed.losses.tokens import TokenMSELoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.task import Task
from ckdmed.networks.token_projectors import attention_projector, group_projector

__all__ = ["cross_terms"]

# 25, 50 and 0.2 of the paper's 200 epochs
_LATE = DelayedRamp(delay=0.125, length=0.25, ceiling=0.2)


def cross_terms(task: Task, weight: float, w_adv: float) -> dict[str, LossTerm]:
    """Attention (PCA projector), tokens (GL projector) and a discriminator of projected tokens and the teacher's.

    Where the teacher is a convolutional network and the student a transformer, the student's tokens are laid out as a
    map and brought to the teacher's channels, and there is no attention to compare. All terms rise late, to 0.2 of
    their weights, as in the paper.

    Raises:
        ValueError: networks without anything in common.
    """
    tokens = tuple(name for name in task.tokens if name == "tokens")
    layers = tokens or task.maps()[:1]
    terms = {}
    if "qkv" in task.tokens:
        terms["attention"] = LossTerm(
            PartialCrossAttentionLoss(task.heads),
            "features",
            weight,
            layers=("qkv",),
            projector=attention_projector,
            schedule=_LATE,
        )
    distance = TokenMSELoss() if tokens else FeatureMSELoss(resize="min")
    terms["projection"] = LossTerm(
        distance, "features", weight, layers=layers, projector=group_projector, schedule=_LATE
    )
    terms["adversarial"] = LossTerm(
        AdversarialLoss(), "features", weight * w_adv, layers=layers, projector=group_projector, schedule=_LATE
    )
    return terms
