"""DIST: correlation with the teacher instead of equality."""

from __future__ import annotations

from ckdmed.losses.dist import DISTLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "dist",
    "classification",
    summary="correlation with the teacher instead of equality",
    source="Huang et al. 2022 (arXiv 2205.10536), equations 6 to 9, weights 1, T 1",
)
def dist(task: Task, alpha: float = 1.0, temperature: float = 1.0, beta: float = 1.0) -> dict[str, LossTerm]:
    """alpha CE + beta T^2 (1 - correlation over classes + 1 - correlation over images).

    A batch of one has no correlation over images, and the term is left out there. Of two classes only the correlation
    over images teaches: that over classes is always 1 or -1.

    Args:
        task: the task.
        alpha: weight of the cross entropy.
        temperature: T.
        beta: weight of the correlations.
    """
    loss = DISTLoss(temperature=temperature, link="softmax")
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "correlation": LossTerm(loss, "logits", beta, min_samples=2),
    }
