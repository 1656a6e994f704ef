"""Results as DICOM objects of the patient's study: Segmentation, structured reports, secondary captures.

Needs ``pip install 'ckdmed[dicom]'``.
"""

from __future__ import annotations

from ckdmed.dicom_results.algorithm import Algorithm
from ckdmed.dicom_results.classification_report import write_classification
from ckdmed.dicom_results.measurement_report import write_report
from ckdmed.dicom_results.notices import full_notice, short_notice, unintended_reasons
from ckdmed.dicom_results.results import DicomResults, write_results
from ckdmed.dicom_results.segmentation import write_segmentation

__all__ = [
    "Algorithm",
    "DicomResults",
    "full_notice",
    "short_notice",
    "unintended_reasons",
    "write_classification",
    "write_report",
    "write_results",
    "write_segmentation",
]
