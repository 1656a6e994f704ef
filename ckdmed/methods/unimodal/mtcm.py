"""MTCM-KD with its published weights."""

from __future__ import annotations

from ckdmed.losses.combination import CombinationLoss
from ckdmed.losses.performance_weights import PCRLoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task
from ckdmed.methods.unimodal.deep_terms import after_warm_up, deep_terms


@method(
    "mtcm",
    "unimodal",
    summary="MTCM-KD with its published weights, divergences as means over positions",
    source="Ahmad et al. 2024, MTCM-KD (Knowledge-Based Systems 297) and its code",
)
def mtcm(
    task: Task,
    w_sup: float = 0.75,
    w_response: float = 0.15,
    w_deep: float = 0.1,
    deep_label: float = 0.7,
    temperature: float = 4.0,
) -> dict[str, LossTerm]:
    """w_sup sup(z, y) + w_response sum_i w_i KD(z, z_i) + w_deep (deep_label sup(h, y') + (1 - deep_label) KD(h, c)).

    The divergences are means over positions. Exclusive classes have Dice, Jaccard and cross entropy in equal parts as
    their supervised loss, overlapping regions that of the task.

    How the published weights are read stands in docs/unimodal.md.

    Args:
        task: the task.
        w_sup, w_response, w_deep: weights, as published.
        deep_label: the label's part in the intermediate head, in [0, 1].
        temperature: of all divergences.

    Raises:
        ValueError: no shares of the teachers; deep_label outside [0, 1].
    """
    supervised = CombinationLoss("correct") if task.link == "softmax" else task.supervised
    terms = {"supervised": LossTerm(supervised, "target", w_sup)}
    if w_response > 0:
        if task.shares is None:
            raise ValueError("the response term needs the shares of the teachers: pass shares=TeacherShares(...).")
        response = PCRLoss(task.shares, task.link, temperature, "mean")
        terms["response"] = LossTerm(response, "logits", w_response, schedule=after_warm_up(task))
    divergence = KDLoss(task.link, temperature)
    return {**terms, **deep_terms(task, supervised, divergence, w_deep, deep_label)}
