"""Inferers that MONAI lacks."""

from __future__ import annotations

from .autocast import AutocastInferer
from .brain_slices import BrainSliceInferer
from .cases import case_inferer
from .channels import ChannelsInferer
from .precision import amp_dtype, autocast_dtype, precision_of

__all__ = [
    "AutocastInferer",
    "BrainSliceInferer",
    "ChannelsInferer",
    "amp_dtype",
    "autocast_dtype",
    "case_inferer",
    "precision_of",
]
