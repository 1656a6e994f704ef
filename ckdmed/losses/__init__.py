"""Distillation losses, each usable alone, and the totals made of them."""

from __future__ import annotations

from ckdmed.losses.attention_transfer import AttentionTransferLoss, attention_map
from ckdmed.losses.conventions import PairLoss
from ckdmed.losses.edge import EdgeLoss, SobelMagnitude
from ckdmed.losses.feature_mse import FeatureMSELoss, normalize_features
from ckdmed.losses.hard_pseudo import HardPseudoLabelLoss, pseudo_labels
from ckdmed.losses.logit_mse import LogitMSELoss, ProbMSELoss
from ckdmed.losses.msgff import MSGFFLoss
from ckdmed.losses.resizing import match_grids, pool_to, resize_to
from ckdmed.losses.schedules import (
    Constant,
    CosineRamp,
    DelayedRamp,
    LinearRamp,
    RampAndOff,
    SigmoidRamp,
    StepAfter,
)
from ckdmed.losses.soft_dice import SoftDiceKDLoss
from ckdmed.losses.soft_targets import KDLoss, soft_target_divergence
from ckdmed.losses.total import DistillationLoss, LossTerm, LossValues

__all__ = [
    "AttentionTransferLoss",
    "Constant",
    "CosineRamp",
    "DelayedRamp",
    "DistillationLoss",
    "EdgeLoss",
    "FeatureMSELoss",
    "HardPseudoLabelLoss",
    "KDLoss",
    "LinearRamp",
    "LogitMSELoss",
    "LossTerm",
    "LossValues",
    "MSGFFLoss",
    "PairLoss",
    "ProbMSELoss",
    "RampAndOff",
    "SigmoidRamp",
    "SobelMagnitude",
    "SoftDiceKDLoss",
    "StepAfter",
    "attention_map",
    "match_grids",
    "normalize_features",
    "pool_to",
    "pseudo_labels",
    "resize_to",
    "soft_target_divergence",
]
