"""FitNets: the student's features regress the teacher's."""

from __future__ import annotations

from ckdmed.losses.feature_mse import FeatureMSELoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "fitnets",
    "segmentation",
    "regions",
    summary="hints: the student's features regress the teacher's",
    source="Romero et al. 2015 (arXiv 1412.6550), equation 3, beside the label from the first step on",
)
def fitnets(
    task: Task, w_sup: float = 1.0, w_feat: float = 1.0, feature_layers: list[str] | None = None
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_feat mean_k MSE(P F_s, F_t), P a 1x1 convolution that learns.

    The paper trains the hint first and the rest after it; its weight in published codes, 100, is for classifiers of one
    family and drowns the label of a mask. It needs a sweep: published ones run from 0.01 to 100.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_feat: weight of the hints.
        feature_layers: compared stages of the decoder; the deepest, the paper's middle layer, by default.
    """
    layers = task.maps(feature_layers, deepest=1)
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "hints": LossTerm(FeatureMSELoss(resize="min"), "features", w_feat, layers=layers),
    }
