"""Inferers that MONAI lacks."""

from __future__ import annotations

from .autocast import AutocastInferer
from .channels import ChannelsInferer

__all__ = ["AutocastInferer", "ChannelsInferer"]
