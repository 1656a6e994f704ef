"""Inference over unchecked inputs: what is found, read, skipped or done already, and its report."""

from __future__ import annotations

from ckdmed.inference.case_job import CaseInferenceJob
from ckdmed.inference.inputs_skipped import InputsSkipped
from ckdmed.inference.job import InferenceJob

__all__ = ["CaseInferenceJob", "InferenceJob", "InputsSkipped"]
