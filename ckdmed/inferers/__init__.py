"""Inferers that MONAI lacks."""

from __future__ import annotations

from .autocast import AutocastInferer
from .brain_slices import BrainSliceInferer
from .cases import case_inferer
from .channels import ChannelsInferer

__all__ = ["AutocastInferer", "BrainSliceInferer", "ChannelsInferer", "case_inferer"]
