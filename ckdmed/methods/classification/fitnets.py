"""FitNets: the student's features regress the teacher's."""

from __future__ import annotations

from ckdmed.losses.feature_mse import FeatureMSELoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task
from ckdmed.networks.projectors import regressor


@method(
    "fitnets",
    "classification",
    summary="hints: the student's features regress the teacher's",
    source="Romero et al. 2015 (arXiv 1412.6550), equation 3; weight and regressor of mdistiller",
)
def fitnets(
    task: Task, alpha: float = 1.0, beta: float = 100.0, feature_layers: list[str] | None = None
) -> dict[str, LossTerm]:
    """alpha CE + beta MSE(P F_s, F_t), P a 1x1 convolution with batch norm and ReLU, on the teacher's grid.

    The paper trains the hint first and the rest after it. The weight needs a sweep: for networks of different kind 0.01
    helped where 1 harmed. What of the teacher's map lies below 0 the ReLU never gets to: it suits a VGG, whose stages
    end in one, and not an EfficientNet-Lite, of which :func:`~ckdmed.engines.attach_student` warns.

    Args:
        task: the task.
        alpha: weight of the cross entropy.
        beta: weight of the hints.
        feature_layers: compared stages, see :func:`~ckdmed.networks.classification_student_taps`; "msgff" by default.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "hints": LossTerm(FeatureMSELoss(), "features", beta, layers=task.maps(feature_layers), projector=regressor),
    }
