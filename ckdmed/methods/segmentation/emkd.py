"""EMKD: predictions, importance maps and the contrast of the label's regions."""

from __future__ import annotations

from ckdmed.losses.attention_transfer import AttentionTransferLoss
from ckdmed.losses.region_contrast import RegionContrastLoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm
from ckdmed.methods.registry import method
from ckdmed.methods.task import Task


@method(
    "emkd",
    "segmentation",
    "regions",
    summary="soft targets, importance maps and the contrast of the label's regions",
    source="EMKD, Qin et al. 2021 (IEEE TMI 40(12)) and its code: weights 0.1, 0.9, 0.9, T 4",
)
def emkd(
    task: Task,
    w_sup: float = 1.0,
    w_logit: float = 0.1,
    w_feat: float = 0.9,
    w_att: float = 0.9,
    temperature: float = 4.0,
    feature_layers: list[str] | None = None,
) -> dict[str, LossTerm]:
    """w_sup (BCE + Dice) + w_logit KD + w_att sum_k importance maps + w_feat sum_k contrast of regions.

    Importance maps are sums over channels of |F|^4, scaled to length 1; contrast is the cosine between the mean
    features of two regions, background included (:class:`~ckdmed.losses.RegionContrastLoss`), of labelled images.

    Args:
        task: the task.
        w_sup, w_logit, w_feat, w_att: weights; the paper's supervised loss is of another form.
        temperature: T.
        feature_layers: compared stages of the decoder; the deepest and the shallowest by default.
    """
    layers = task.maps(feature_layers)
    layers = layers if feature_layers else tuple(dict.fromkeys((layers[0], layers[-1])))
    ones = [1.0] * len(layers)
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "soft_targets": LossTerm(KDLoss(task.link, temperature=temperature), "logits", w_logit),
        "importance": LossTerm(
            AttentionTransferLoss("l2sum", exponent=4.0),
            "features",
            w_att,
            layers=layers,
            layer_weights=ones,
            projected=False,
        ),
        "contrast": LossTerm(
            RegionContrastLoss(),
            "features",
            w_feat,
            layers=layers,
            layer_weights=ones,
            projected=False,
            with_label=True,
        ),
    }
