"""Any mix of patients' scans, segmented with one call."""

from __future__ import annotations

from ckdmed.clinic.patients import ChosenSeries, Patient, find_patients
from ckdmed.clinic.run import PatientResult, segment_patients

__all__ = ["ChosenSeries", "Patient", "PatientResult", "find_patients", "segment_patients"]
