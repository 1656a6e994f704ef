"""Distillation losses, each usable alone, and the totals made of them."""

from __future__ import annotations

from ckdmed.losses.adversarial import AdversarialLoss
from ckdmed.losses.attention_transfer import AttentionTransferLoss, attention_map
from ckdmed.losses.bce_dice import BCEDiceLoss
from ckdmed.losses.class_affinity import ClassAffinityLoss, class_affinity
from ckdmed.losses.combination import CombinationLoss
from ckdmed.losses.conventions import PairLoss
from ckdmed.losses.cooperative import (
    HEAD,
    CooperativeTeacherLoss,
    DeepSupervisionTerm,
    check_fusion_learns,
    resize_labels,
)
from ckdmed.losses.coordinate import CoordinateLoss
from ckdmed.losses.cross_attention import PartialCrossAttentionLoss
from ckdmed.losses.cwd import ChannelWiseLoss
from ckdmed.losses.dist import DISTLoss
from ckdmed.losses.dkd import DKDLoss, decoupled_divergences
from ckdmed.losses.edge import EdgeLoss, SobelMagnitude
from ckdmed.losses.feature_mse import FeatureMSELoss, normalize_features
from ckdmed.losses.hard_pseudo import HardPseudoLabelLoss, pseudo_labels
from ckdmed.losses.hcl import HCLoss
from ckdmed.losses.logit_mse import LogitMSELoss, ProbMSELoss
from ckdmed.losses.loss_correction import LossCorrection
from ckdmed.losses.msgff import MSGFFLoss
from ckdmed.losses.multi_head import MultiHeadLoss
from ckdmed.losses.ofa import ExitsLoss, OFALoss
from ckdmed.losses.penalties import with_penalties
from ckdmed.losses.performance_weights import (
    PCRLoss,
    PerformanceWeightedLoss,
    TeacherShares,
    performance_weights,
)
from ckdmed.losses.region_contrast import PrototypeLoss, RegionContrastLoss
from ckdmed.losses.region_losses import REGION_LOSSES, BatchDiceBCELoss, RegionCombinationLoss, region_loss
from ckdmed.losses.relational import RelationalLoss
from ckdmed.losses.resizing import match_grids, pool_to, resize_to
from ckdmed.losses.review import ReviewLoss
from ckdmed.losses.schedules import (
    Constant,
    CosineRamp,
    DelayedRamp,
    LinearRamp,
    RampAndOff,
    SigmoidRamp,
    StepAfter,
)
from ckdmed.losses.similarity import SimilarityLoss
from ckdmed.losses.soft_dice import SoftDiceKDLoss
from ckdmed.losses.soft_targets import KDLoss, soft_target_divergence
from ckdmed.losses.supervised import (
    binary_cross_entropy,
    class_weights_of,
    supervised_classification_loss,
    supervised_segmentation_loss,
)
from ckdmed.losses.tokens import TokenMSELoss
from ckdmed.losses.total import DistillationLoss, LossTerm, LossValues

__all__ = [
    "AdversarialLoss",
    "AttentionTransferLoss",
    "BCEDiceLoss",
    "BatchDiceBCELoss",
    "ChannelWiseLoss",
    "ClassAffinityLoss",
    "CombinationLoss",
    "Constant",
    "CooperativeTeacherLoss",
    "CoordinateLoss",
    "CosineRamp",
    "DISTLoss",
    "DKDLoss",
    "DeepSupervisionTerm",
    "DelayedRamp",
    "DistillationLoss",
    "EdgeLoss",
    "ExitsLoss",
    "FeatureMSELoss",
    "HCLoss",
    "HEAD",
    "HardPseudoLabelLoss",
    "KDLoss",
    "LinearRamp",
    "LogitMSELoss",
    "LossCorrection",
    "LossTerm",
    "LossValues",
    "MSGFFLoss",
    "MultiHeadLoss",
    "OFALoss",
    "PCRLoss",
    "PairLoss",
    "PartialCrossAttentionLoss",
    "PerformanceWeightedLoss",
    "ProbMSELoss",
    "PrototypeLoss",
    "REGION_LOSSES",
    "RampAndOff",
    "RegionCombinationLoss",
    "RegionContrastLoss",
    "RelationalLoss",
    "ReviewLoss",
    "SigmoidRamp",
    "SimilarityLoss",
    "SobelMagnitude",
    "SoftDiceKDLoss",
    "StepAfter",
    "TeacherShares",
    "TokenMSELoss",
    "attention_map",
    "binary_cross_entropy",
    "check_fusion_learns",
    "class_affinity",
    "class_weights_of",
    "decoupled_divergences",
    "match_grids",
    "normalize_features",
    "performance_weights",
    "pool_to",
    "pseudo_labels",
    "region_loss",
    "resize_labels",
    "resize_to",
    "soft_target_divergence",
    "supervised_classification_loss",
    "supervised_segmentation_loss",
    "with_penalties",
]
