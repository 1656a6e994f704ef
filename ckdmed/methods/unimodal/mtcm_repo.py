"""MTCM-KD with the scale of its published code."""

from __future__ import annotations

from ckdmed.losses.combination import CombinationLoss
from ckdmed.losses.performance_weights import REPO_TEMPERATURE, PCRLoss, TeacherShares
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task
from ckdmed.methods.unimodal.deep_terms import after_warm_up, deep_terms


@method(
    "mtcm_repo",
    "unimodal",
    summary="MTCM-KD with the scale of its published code, which drowns the label",
    source="Ahmad et al. 2024, MTCM-KD (Knowledge-Based Systems 297) and its code",
)
def mtcm_repo(
    task: Task,
    w_sup: float = 0.75,
    w_response: float = 0.15,
    w_deep: float = 0.1,
    deep_label: float = 0.7,
    temperature: float = REPO_TEMPERATURE,
) -> dict[str, LossTerm]:
    """As ``mtcm``, with the published code's scale: T 20, sums over positions, overlaps slice by slice.

    It drowns the label: only to compare with published numbers.

    How the published weights are read stands in docs/unimodal.md.

    Args:
        task: the task.
        w_sup, w_response, w_deep: weights, as published.
        deep_label: the label's part in the intermediate head, in [0, 1].
        temperature: of all divergences.

    Raises:
        ValueError: no shares of the teachers; deep_label outside [0, 1].
    """
    supervised = CombinationLoss("repo") if task.link == "softmax" else task.supervised
    terms = {"supervised": LossTerm(supervised, "target", w_sup)}
    if w_response > 0:
        if task.shares is None:
            raise ValueError("the response term needs the shares of the teachers: pass shares=TeacherShares(...).")
        response = PCRLoss(task.shares, task.link, temperature, "repo")
        terms["response"] = LossTerm(response, "logits", w_response, schedule=after_warm_up(task))
    divergence = PCRLoss(TeacherShares(1), task.link, temperature, mode="repo")
    return {**terms, **deep_terms(task, supervised, divergence, w_deep, deep_label)}
