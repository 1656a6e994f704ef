"""Channel-wise distillation: where each channel puts its mass."""

from __future__ import annotations

from ckdmed.losses.cwd import ChannelWiseLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "cwd",
    "segmentation",
    "regions",
    summary="channel-wise: where each channel of the output puts its mass",
    source="Shu et al. 2021 (arXiv 2011.13256), equations 4 and 5; weight and T of mmrazor's configuration for logits",
)
def cwd(
    task: Task,
    w_sup: float = 1.0,
    w_logit: float = 5.0,
    w_feat: float = 0.0,
    temperature: float = 1.0,
    feature_layers: list[str] | None = None,
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_logit T^2 mean KL of the softmax over positions + w_feat of the same between features.

    It is blind to a constant offset of a channel, which the supervised term sees.

    Args:
        task: the task.
        w_sup: weight of the supervised term.
        w_logit: weight between the outputs.
        w_feat: weight between projected features; 10 in published configurations.
        temperature: T.
        feature_layers: compared stages of the decoder; the deepest by default.
    """
    terms = {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "channels": LossTerm(ChannelWiseLoss(temperature), "logits", w_logit),
    }
    if w_feat > 0:
        layers = task.maps(feature_layers, deepest=1)
        loss = ChannelWiseLoss(temperature, resize="min")
        terms["feature_channels"] = LossTerm(loss, "features", w_feat, layers=layers)
    elif feature_layers:
        raise ValueError("feature_layers are compared only where w_feat is above 0; give w_feat as well.")
    return terms
