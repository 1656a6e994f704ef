"""Similarity-preserving distillation: which images of a batch resemble each other."""

from __future__ import annotations

from ckdmed.losses.similarity import SimilarityLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "similarity",
    "classification",
    summary="which images of a batch resemble each other",
    source="Tung and Mori 2019 (arXiv 1907.09682), equations 2 to 4, weight 3000",
)
def similarity(
    task: Task, alpha: float = 1.0, beta: float = 3000.0, feature_layers: list[str] | None = None
) -> dict[str, LossTerm]:
    """alpha CE + beta |G_s - G_t|^2 / B^2, G the similarities of the samples.

    A batch of one has no similarities, and the term is left out there.

    Args:
        task: the task.
        alpha: weight of the cross entropy.
        beta: weight of the similarities.
        feature_layers: compared stages, see :func:`~ckdmed.networks.classification_student_taps`; "msgff" by default.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "similarity": LossTerm(
            SimilarityLoss(), "features", beta, layers=task.maps(feature_layers), projected=False, min_samples=2
        ),
    }
