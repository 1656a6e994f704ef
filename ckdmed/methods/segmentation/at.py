"""Attention transfer: where the features are large, whatever their channels."""

from __future__ import annotations

from ckdmed.losses.attention_transfer import AttentionTransferLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "at",
    "segmentation",
    "regions",
    summary="attention transfer: where features are large",
    source="Zagoruyko and Komodakis 2017 (arXiv 1612.03928); form and weight of the authors' code",
)
def at(
    task: Task, w_sup: float = 1.0, w_att: float = 1000.0, feature_layers: list[str] | None = None
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_att sum_k mean (A_s/|A_s| - A_t/|A_t|)^2, A the sum of squares over the channels.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_att: weight of the maps, beta in the paper.
        feature_layers: compared stages of the decoder; all by default.
    """
    layers = task.maps(feature_layers)
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "attention": LossTerm(
            AttentionTransferLoss("code"),
            "features",
            w_att,
            layers=layers,
            layer_weights=[1.0] * len(layers),
            projected=False,
        ),
    }
