"""ReviewKD's hierarchical context loss between one stage of each network."""

from __future__ import annotations

from ckdmed.losses.hcl import HCLoss
from ckdmed.losses.schedules import LinearRamp
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task
from ckdmed.networks.projectors import resizing_projector


@method(
    "hcl",
    "classification",
    summary="features at full size and pooled to 4, 2 and 1 cells",
    source="Chen et al. 2021, ReviewKD (arXiv 2104.09044): its loss, weight and warm-up, without its fusion of stages",
)
def hcl(
    task: Task, alpha: float = 1.0, beta: float = 1.0, feature_layers: list[str] | None = None
) -> dict[str, LossTerm]:
    """alpha CE + beta HCL(P F_s, F_t), P a 1x1 convolution that learns, on the teacher's grid.

    The term rises over the first twelfth of the training, 20 of the paper's 240 epochs. The paper's fusion of stages
    (ABF) is not part of it.

    Args:
        task: the task.
        alpha: weight of the cross entropy.
        beta: weight of the features.
        feature_layers: compared stages, see :func:`~ckdmed.networks.classification_student_taps`; "msgff" by default.
    """
    return {
        "supervised": LossTerm(task.supervised, "target", alpha),
        "context": LossTerm(
            HCLoss(),
            "features",
            beta,
            layers=task.maps(feature_layers),
            schedule=LinearRamp(0, 1 / 12),
            projector=resizing_projector,
        ),
    }
