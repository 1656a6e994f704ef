"""Ready-made totals for segmentation: ours, and the two of the reports that the project started from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from monai.losses import DiceCELoss
from torch import nn

from ckdmed.losses.attention_transfer import AttentionTransferLoss
from ckdmed.losses.bce_dice import BCEDiceLoss
from ckdmed.losses.conventions import PairLoss
from ckdmed.losses.edge import EdgeLoss
from ckdmed.losses.feature_mse import FeatureMSELoss
from ckdmed.losses.hard_pseudo import HardPseudoLabelLoss
from ckdmed.losses.logit_mse import LogitMSELoss
from ckdmed.losses.msgff import MSGFFLoss
from ckdmed.losses.schedules import RampAndOff
from ckdmed.losses.soft_dice import SoftDiceKDLoss
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import DistillationLoss, LossTerm

__all__ = ["PRESETS", "binary_cross_entropy", "segmentation_distillation_loss", "supervised_segmentation_loss"]


class _Weights(NamedTuple):
    w_sup: float
    w_logit: float
    w_feat: float
    w_att: float
    w_edge: float
    temperature: float


# The reports give alpha and T of the first total (alpha on the supervised term) and no weights for KD++.
PRESETS = {
    "ours": _Weights(w_sup=1.0, w_logit=1.0, w_feat=0.1, w_att=0.5, w_edge=0.1, temperature=2.0),
    "report_kd": _Weights(w_sup=0.1, w_logit=0.9, w_feat=1.0, w_att=0.0, w_edge=0.0, temperature=4.0),
    "alone": _Weights(w_sup=1.0, w_logit=0.0, w_feat=0.0, w_att=0.0, w_edge=0.0, temperature=2.0),
    "hard_pseudo": _Weights(w_sup=1.0, w_logit=1.0, w_feat=0.0, w_att=0.0, w_edge=0.0, temperature=1.0),
    "report_kdpp": _Weights(w_sup=1.0, w_logit=1.0, w_feat=0.1, w_att=0.5, w_edge=0.1, temperature=4.0),
}


def supervised_segmentation_loss(link: str = "sigmoid") -> nn.Module:
    """Half cross entropy, half Dice (per sample and channel, stabiliser 1e-5), on logits.

    Args:
        link: "sigmoid" for one mask or overlapping regions (target of the logits' shape), "softmax" for exclusive
            classes (target (B, 1, *spatial) of class indices; MONAI's ``DiceCELoss``, which for several channels takes
            the softmax cross entropy whatever its ``sigmoid`` says, and so does not serve the other link).

    Raises:
        ValueError: unknown link.
    """
    if link == "sigmoid":
        return BCEDiceLoss()
    if link == "softmax":
        return DiceCELoss(
            softmax=True, to_onehot_y=True, lambda_dice=0.5, lambda_ce=0.5, smooth_nr=1e-5, smooth_dr=1e-5
        )
    raise ValueError(f"link must be 'sigmoid' or 'softmax', got {link!r}.")


class _BinaryCrossEntropy(nn.BCEWithLogitsLoss):
    """torch's, for masks of any type: its own takes none but those of the logits' type."""

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return super().forward(input, target.to(input.dtype))


def binary_cross_entropy() -> nn.Module:
    """Mean binary cross entropy on logits, the supervised term of the reports' first total."""
    return _BinaryCrossEntropy()


def segmentation_distillation_loss(
    preset: str = "ours",
    link: str = "sigmoid",
    layers: Sequence[str] | None = None,
    temperature: float | None = None,
    w_sup: float | None = None,
    w_logit: float | None = None,
    w_feat: float | None = None,
    w_att: float | None = None,
    w_edge: float | None = None,
    pooled_features: bool = False,
    supervised: nn.Module | None = None,
) -> DistillationLoss:
    """The total of a preset, with any of its weights replaced.

    ============= ============================================================================================
    preset        total
    ============= ============================================================================================
    ours          w_sup (BCE + Dice) + w_logit (half binary KD, half squared soft Dice) + w_feat MSGFF between
                  normalised features + w_att attention transfer + w_edge Sobel edges; the feature and attention
                  terms rise over the first tenth of the training and are off for the last tenth, so that the
                  end of the training is about the mask
    report_kd     alpha BCE + (1 - alpha) T^2 MSE(z_s, z_t) + beta sum_k MSE(F_s, P F_t), alpha 0.1, T 4. T never
                  divides the logits, so T^2 = 16 is a plain factor that drowns the labels
    report_kdpp   w_sup (BCE + Dice) + w_logit binary KD at T 4 + w_feat MSE(F_s, P F_t) + w_att attention transfer
                  + w_edge Sobel edges, weights (not published) as ours, without ramps
    ============= ============================================================================================

    "alone" is the supervised term of ours and nothing else: the control without a teacher. "hard_pseudo" is the same
    with the teacher's thresholded masks as labels of the images that have none (weight w_logit): the control for soft
    targets. Where every image has its label the two are one.

    In the reports' forms P acts on the teacher. Trained there, it and the student's features shrink to nothing; here it
    is random, orthogonal and frozen (``projection_side`` "teacher"). KD++ as printed takes a softmax over the one
    channel of a mask, which is the constant 1 and teaches nothing: the binary divergence stands in its place. Norms are
    means, not sums, so that weights do not depend on the image size.

    Args:
        preset: "ours", "report_kd", "report_kdpp", "alone" or "hard_pseudo".
        link: "sigmoid" or "softmax", see :func:`supervised_segmentation_loss`; "report_kd" is binary.
        layers: tap names of the decoder stages for the feature and attention terms, none for an empty sequence. By
            default the reports' presets take d4 to d1, ours the two deepest: the maps of d2 and d1 are most of the
            terms' price (see benchmarks/step_speed.py) and hardly more than the logits are.
        temperature: of the soft targets; each preset's own by default (2, 4, 4; hard labels have none).
        w_sup, w_logit, w_feat, w_att, w_edge: weights that replace the preset's.
        pooled_features: compare features pooled to 1, 2 and 4 cells an axis beside their own resolution (the
            reports' MSGFF with adaptive average pooling), instead of position by position alone.
        supervised: a supervised loss in place of the preset's.

    Raises:
        ValueError: unknown preset, or "report_kd" with a link other than sigmoid.

    Source: the project's reports (S2, equations 6 to 13); the errata are listed in docs/losses.md.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {sorted(PRESETS)}, got {preset!r}.")
    if preset == "report_kd" and link != "sigmoid":
        raise ValueError(f"the preset 'report_kd' is binary (link 'sigmoid'), got link={link!r}.")
    given = {"w_sup": w_sup, "w_logit": w_logit, "w_feat": w_feat, "w_att": w_att, "w_edge": w_edge}
    chosen = PRESETS[preset]._replace(**{k: float(v) for k, v in given.items() if v is not None})
    degree = float(temperature) if temperature is not None else chosen.temperature
    ours = preset in ("ours", "alone", "hard_pseudo")
    if layers is None:
        layers = ("d4", "d3") if ours else ("d4", "d3", "d2", "d1")
    schedule = RampAndOff(0.1, 0.9) if ours else None
    default_supervised = binary_cross_entropy() if preset == "report_kd" else supervised_segmentation_loss(link)
    normalize = "channel_l2" if ours else "none"
    features: PairLoss = (
        MSGFFLoss(scales=(None, 1, 2, 4), normalize=normalize)
        if pooled_features
        else FeatureMSELoss(normalize=normalize, resize="min")
    )
    terms = {"supervised": LossTerm(supervised or default_supervised, "target", chosen.w_sup)}
    if preset == "hard_pseudo":
        terms["pseudo_labels"] = LossTerm(
            HardPseudoLabelLoss(supervised, link=link), "logits", chosen.w_logit, samples="unlabelled"
        )
    elif ours:
        terms["soft_targets"] = LossTerm(KDLoss(link, temperature=degree), "logits", 0.5 * chosen.w_logit)
        terms["soft_dice"] = LossTerm(SoftDiceKDLoss(link), "logits", 0.5 * chosen.w_logit)
    elif preset == "report_kd":
        terms["logit_mse"] = LossTerm(LogitMSELoss(literal_temperature=degree), "logits", chosen.w_logit)
    else:
        terms["soft_targets"] = LossTerm(KDLoss(link, temperature=degree), "logits", chosen.w_logit)
    if layers:
        # the reports sum over the levels, ours averages
        each = None if ours else [1.0] * len(layers)
        terms["features"] = LossTerm(
            features, "features", chosen.w_feat, layers=layers, layer_weights=each, schedule=schedule
        )
        terms["attention"] = LossTerm(
            AttentionTransferLoss("l2sum"),
            "features",
            chosen.w_att,
            layers=layers,
            layer_weights=each,
            projected=False,
            schedule=schedule,
        )
    terms["edges"] = LossTerm(EdgeLoss("mask", link=link), "target", chosen.w_edge)
    return DistillationLoss(
        {name: term for name, term in terms.items() if term.weight > 0},
        projection_side="student" if ours else "teacher",
    )
