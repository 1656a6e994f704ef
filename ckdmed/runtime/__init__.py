"""Inference from deployed files (`ckdmed deploy`) without PyTorch and MONAI.

This package and the readers that it needs are also built as a distribution of their own, ``ckdmed-runtime`` (folder
``runtime`` of the repository), for machines where PyTorch is not installed. Nothing here, and nothing that is imported
from here, imports torch or monai.
"""

from __future__ import annotations

from ckdmed.runtime.description import FORM_SUFFIXES, DeployedFileError, Description, is_deployed
from ckdmed.runtime.forms import DeployedForm, open_form
from ckdmed.runtime.predict import Prediction, Predictor

__all__ = [
    "FORM_SUFFIXES",
    "DeployedFileError",
    "DeployedForm",
    "Description",
    "Prediction",
    "Predictor",
    "is_deployed",
    "open_form",
]
