"""The student's map regresses the tokens of the teacher's Vision Transformer."""

from __future__ import annotations

from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.tokens import TokenMSELoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.classification.parts import soft_target_weight
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task
from ckdmed.networks.projectors import token_projector


@method(
    "tokens",
    "classification",
    summary="the student's map regresses the tokens of the teacher's Vision Transformer",
    source="FitNets (arXiv 1412.6550) between a map and tokens; this project",
    # tokens lie on no grid that a view could move along
    training={"student_view": None},
)
def tokens(task: Task, alpha: float = 0.1, temperature: float = 4.0, beta: float = 1.0) -> dict[str, LossTerm]:
    """alpha CE + (1 - alpha) T^2 KL(teacher || student) + beta MSE(P F_s, tokens), both normalised at each token.

    P brings the map to the grid of the tokens and each position to their width by one linear layer. The class token is
    left out.

    Raises:
        ValueError: a teacher without a Vision Transformer.

    Args:
        task: the task.
        alpha: weight of the cross entropy.
        temperature: T.
        beta: weight of the tokens.
    """
    if not task.tokens:
        raise ValueError("this method compares the tokens of a Vision Transformer, but this teacher has none.")
    loss = TokenMSELoss(normalize="layernorm")
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "soft_targets": LossTerm(KDLoss("softmax", temperature=temperature), "logits", soft_target_weight(alpha)),
        "tokens": LossTerm(loss, "features", beta, layers=task.tokens[:1], projector=token_projector),
    }
