"""Ignite handlers that watch, log and save a distillation."""

from __future__ import annotations

from ckdmed.handlers.buffers import SyncBuffers
from ckdmed.handlers.checkpoint import BestModel, ResumeCheckpoint
from ckdmed.handlers.classification_evaluation import ClassificationEvaluation, CollectLogits
from ckdmed.handlers.classification_pictures import ClassificationPictures
from ckdmed.handlers.divergence import DivergedError, StopWhenDiverged
from ckdmed.handlers.event_writer import EventWriter, event_writer
from ckdmed.handlers.gradient_report import GradientReport, term_gradient_norms
from ckdmed.handlers.gradient_scaling import GradientScaling
from ckdmed.handlers.history import TrainingHistory
from ckdmed.handlers.last_epoch_validation import LastEpochValidation
from ckdmed.handlers.pictures import TrainingPictures
from ckdmed.handlers.prepared_teacher import PreparedTeacher
from ckdmed.handlers.region_dice import RegionDice
from ckdmed.handlers.region_evaluation import RegionEvaluation
from ckdmed.handlers.region_training_pictures import RegionTrainingPictures
from ckdmed.handlers.reproducible import ReproducibleEpochs
from ckdmed.handlers.segmentation_evaluation import SegmentationEvaluation
from ckdmed.handlers.teacher_check import TeacherCheck
from ckdmed.handlers.training_accuracy import TrainingAccuracy
from ckdmed.handlers.validation_loss import ValidationLoss

__all__ = [
    "DivergedError",
    "StopWhenDiverged",
    "BestModel",
    "ClassificationEvaluation",
    "ClassificationPictures",
    "CollectLogits",
    "EventWriter",
    "GradientReport",
    "GradientScaling",
    "LastEpochValidation",
    "PreparedTeacher",
    "RegionDice",
    "RegionEvaluation",
    "RegionTrainingPictures",
    "ReproducibleEpochs",
    "ResumeCheckpoint",
    "SegmentationEvaluation",
    "SyncBuffers",
    "TeacherCheck",
    "TrainingAccuracy",
    "TrainingHistory",
    "TrainingPictures",
    "ValidationLoss",
    "event_writer",
    "term_gradient_norms",
]
