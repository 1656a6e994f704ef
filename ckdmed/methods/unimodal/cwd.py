"""Channel-wise distillation from every teacher."""

from __future__ import annotations

from ckdmed.losses.cwd import ChannelWiseLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task
from ckdmed.methods.unimodal.deep_terms import after_warm_up


@method(
    "cwd",
    "unimodal",
    summary="where each channel of every teacher puts its mass",
    source="Shu et al. 2021 (arXiv 2011.13256)",
)
def cwd(task: Task, w_sup: float = 1.0, w_response: float = 5.0, temperature: float = 1.0) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_response sum_i w_i T^2 mean KL of the softmax over positions.

    Args:
        task: the task.
        w_sup, w_response: weights.
        temperature: T.
    """
    terms = {"supervised": LossTerm(task.supervised, "target", w_sup)}
    if w_response > 0:
        response = task.response(ChannelWiseLoss(temperature))
        terms["channels"] = LossTerm(response, "logits", w_response, schedule=after_warm_up(task))
    return terms
