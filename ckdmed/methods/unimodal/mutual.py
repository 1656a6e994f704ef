"""Mutual distillation: networks of different modalities teach each other while they learn."""

from __future__ import annotations

from ckdmed.losses.aligned_response import AlignedResponseTerm
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "mutual",
    "unimodal",
    summary="networks of different modalities teach each other while they learn",
    source="Li et al. 2020 (arXiv 2010.01532), weights 0.5 and 1, with align its alignment of images; with the weight "
    "1 deep mutual learning, Zhang et al. 2018 (arXiv 1706.00384)",
    training={"teacher_mode": "online", "share_source": "equal", "w_mutual": 1.0, "w_cooperative": 0.0},
)
def mutual(
    task: Task, w_sup: float = 1.0, w_response: float = 0.5, temperature: float = 1.0, align: str | None = None
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_response mean_i T^2 KL(peer_i || student); the peers learn from the student likewise.

    What the peers learn from the student and from each other has the weight ``w_mutual``, a setting of the bundle; it
    and the other settings that make the teachers learn are this method's unless they are given. Images of the
    modalities lie on one grid already, so without ``align`` none is made to look like another. With it the one peer's
    sequences are translated to the student's, the peer learns the label from the translated image and the student
    learns from the peer's answer to it, see :class:`~ckdmed.engines.AlignedTrainer`.

    Args:
        task: the task.
        w_sup, w_response: weights.
        temperature: T, of the student and of the peers.
        align: "cyclegan", or None for no alignment.
    """
    terms = {"supervised": LossTerm(task.supervised, "target", w_sup)}
    if w_response > 0:
        response = task.response(KDLoss(task.link, temperature=temperature))
        terms["response"] = (
            LossTerm(response, "logits", w_response) if align is None else AlignedResponseTerm(response, w_response)
        )
    return terms
