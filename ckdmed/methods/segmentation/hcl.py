"""ReviewKD's hierarchical context loss between stages of the same depth."""

from __future__ import annotations

from ckdmed.losses.hcl import HCLoss
from ckdmed.losses.schedules import LinearRamp
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task
from ckdmed.networks.projectors import resizing_projector


@method(
    "hcl",
    "segmentation",
    "regions",
    summary="features at full size and pooled to 4, 2 and 1 cells",
    source="Chen et al. 2021, ReviewKD (arXiv 2104.09044): its loss, weight and warm-up, without its fusion of stages",
)
def hcl(
    task: Task, w_sup: float = 1.0, w_feat: float = 1.0, feature_layers: list[str] | None = None
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_feat sum_k HCL(P F_s, F_t), P a 1x1 convolution that learns, on the teacher's grid.

    The term rises over the first twelfth of the training, 20 of the paper's 240 epochs. The paper's fusion of stages
    (ABF) is not part of it.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_feat: weight of the features.
        feature_layers: compared stages of the decoder; all by default.
    """
    layers = task.maps(feature_layers)
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "context": LossTerm(
            HCLoss(),
            "features",
            w_feat,
            layers=layers,
            layer_weights=[1.0] * len(layers),
            schedule=LinearRamp(0, 1 / 12),
            projector=resizing_projector,
        ),
    }
