"""Measures of segmentation and classification, and their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckdmed.lazy_names import lazy_names

if TYPE_CHECKING:
    from ckdmed.metrics.aggregate import aggregate_scores, group_values, patient_key_of
    from ckdmed.metrics.bootstrap import (
        Interval,
        PairedDifference,
        bootstrap_interval,
        paired_difference,
        paired_p_value,
        t_interval,
    )
    from ckdmed.metrics.calibration import apply_temperature, fit_temperature
    from ckdmed.metrics.case_dice import CaseDiceMetric
    from ckdmed.metrics.class_intervals import classification_intervals
    from ckdmed.metrics.classification import (
        classification_scores,
        confusion_matrix,
        expected_calibration_error,
        patient_probabilities,
        patients_of_several_classes,
        scores_from_confusion,
    )
    from ckdmed.metrics.holm import holm_levels, holm_p_values
    from ckdmed.metrics.lesionwise import BRATS_2023_LESION_RULES, LESION_PENALTY_MM, LesionRules, lesionwise_scores
    from ckdmed.metrics.mask_reliability import NEAR, RELIABILITY_BINS, mask_calibration, reliability_counts
    from ckdmed.metrics.relative import relative_loss
    from ckdmed.metrics.segmentation import (
        DISTANCE_SCORES,
        EMPTY_RULES,
        OVERLAP_SCORES,
        SEGMENTATION_SCORES,
        SegmentationScoresMetric,
        segmentation_scores,
    )

# A tumour's size is measured where PyTorch is not loaded, too (`ckdmed.dicom_results`).
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "aggregate": ("aggregate_scores", "group_values", "patient_key_of"),
        "bootstrap": (
            "Interval",
            "PairedDifference",
            "bootstrap_interval",
            "paired_difference",
            "paired_p_value",
            "t_interval",
        ),
        "calibration": ("apply_temperature", "fit_temperature"),
        "case_dice": ("CaseDiceMetric",),
        "classification": (
            "classification_scores",
            "confusion_matrix",
            "expected_calibration_error",
            "patient_probabilities",
            "patients_of_several_classes",
            "scores_from_confusion",
        ),
        "class_intervals": ("classification_intervals",),
        "holm": ("holm_levels", "holm_p_values"),
        "lesionwise": ("BRATS_2023_LESION_RULES", "LESION_PENALTY_MM", "LesionRules", "lesionwise_scores"),
        "mask_reliability": ("NEAR", "RELIABILITY_BINS", "mask_calibration", "reliability_counts"),
        "relative": ("relative_loss",),
        "segmentation": (
            "DISTANCE_SCORES",
            "EMPTY_RULES",
            "OVERLAP_SCORES",
            "SEGMENTATION_SCORES",
            "SegmentationScoresMetric",
            "segmentation_scores",
        ),
    },
)

__all__ = [
    "BRATS_2023_LESION_RULES",
    "CaseDiceMetric",
    "DISTANCE_SCORES",
    "EMPTY_RULES",
    "Interval",
    "LESION_PENALTY_MM",
    "LesionRules",
    "NEAR",
    "OVERLAP_SCORES",
    "PairedDifference",
    "RELIABILITY_BINS",
    "SEGMENTATION_SCORES",
    "SegmentationScoresMetric",
    "aggregate_scores",
    "apply_temperature",
    "bootstrap_interval",
    "classification_intervals",
    "classification_scores",
    "confusion_matrix",
    "expected_calibration_error",
    "fit_temperature",
    "group_values",
    "holm_levels",
    "holm_p_values",
    "lesionwise_scores",
    "mask_calibration",
    "paired_difference",
    "paired_p_value",
    "patient_key_of",
    "patient_probabilities",
    "patients_of_several_classes",
    "relative_loss",
    "reliability_counts",
    "scores_from_confusion",
    "segmentation_scores",
    "t_interval",
]
