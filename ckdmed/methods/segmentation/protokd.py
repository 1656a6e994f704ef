"""ProtoKD: how much each position resembles the label's regions."""

from __future__ import annotations

from ckdmed.losses.region_contrast import PrototypeLoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "protokd",
    "segmentation",
    "regions",
    summary="soft targets and how much each position resembles the label's regions",
    source="ProtoKD, Wang et al. 2023 (arXiv 2303.09830) and its code: weights 10 and 0.1",
)
def protokd(
    task: Task,
    w_sup: float = 1.0,
    w_logit: float = 10.0,
    w_feat: float = 0.1,
    temperature: float = 2.0,
    feature_layers: list[str] | None = None,
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_logit KD + w_feat MSE of the maps of likeness to the regions' prototypes.

    A prototype is the mean feature of a region, see :class:`~ckdmed.losses.PrototypeLoss`; of labelled images.

    Args:
        task: the task.
        w_sup, w_logit, w_feat: weights.
        temperature: T; of masks, where the paper has exclusive classes.
        feature_layers: compared stages of the decoder; the shallowest by default, as in the paper.
    """
    layers = task.maps(feature_layers)
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "soft_targets": LossTerm(KDLoss(task.link, temperature=temperature), "logits", w_logit),
        "prototypes": LossTerm(
            PrototypeLoss(),
            "features",
            w_feat,
            layers=layers if feature_layers else layers[-1:],
            projected=False,
            with_label=True,
        ),
    }
