"""The project's own method for a student of few modalities with several teachers."""

from __future__ import annotations

from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task
from ckdmed.methods.unimodal.deep_terms import deep_terms
from ckdmed.methods.unimodal.response_terms import response_terms


@method(
    "ckd",
    "unimodal",
    summary="soft targets and soft Dice of every teacher by its share, with an intermediate head",
    source="this project, after MTCM-KD; what it changes stands in docs/unimodal.md",
)
def ckd(
    task: Task,
    w_sup: float = 1.0,
    w_response: float = 1.0,
    w_deep: float = 0.1,
    deep_label: float = 0.7,
    temperature: float = 2.0,
) -> dict[str, LossTerm]:
    """w_sup sup(z, y) + w_response sum_i w_i D(z, z_i) + w_deep (deep_label sup(h, y') + (1 - deep_label) KD(h, c)).

    z are the student's logits, z_i those of teacher i with share w_i; D is half the divergence and half squared soft
    Dice, see :func:`~ckdmed.methods.unimodal.response_terms.response_terms`; for the rest see
    :func:`~ckdmed.methods.unimodal.deep_terms.deep_terms`.

    Args:
        task: the task.
        w_sup, w_response, w_deep: weights.
        deep_label: the label's part in the intermediate head, in [0, 1].
        temperature: of all divergences.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        **response_terms(task, 0.5 * w_response, 0.5 * w_response, temperature),
        **deep_terms(task, task.supervised, KDLoss(task.link, temperature), w_deep, deep_label),
    }
