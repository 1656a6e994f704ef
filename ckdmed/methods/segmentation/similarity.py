"""Similarity-preserving distillation: which images of a batch resemble each other."""

from __future__ import annotations

from ckdmed.losses.similarity import SimilarityLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "similarity",
    "segmentation",
    "regions",
    summary="which images of a batch resemble each other",
    source="Tung and Mori 2019 (arXiv 1907.09682), equations 2 to 4, weight 3000",
)
def similarity(
    task: Task, w_sup: float = 1.0, w_feat: float = 3000.0, feature_layers: list[str] | None = None
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_feat mean_k |G_s - G_t|^2 / B^2, G the similarities of the samples.

    A batch of one has no similarities, and the term is left out there.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_feat: weight of the similarities.
        feature_layers: compared stages of the decoder; the deepest by default.
    """
    layers = task.maps(feature_layers, deepest=1)
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "similarity": LossTerm(SimilarityLoss(), "features", w_feat, layers=layers, projected=False, min_samples=2),
    }
