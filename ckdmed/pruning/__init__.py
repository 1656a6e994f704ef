"""Smaller students: channels removed for real, or the depth of a UNet++."""

from __future__ import annotations

from ckdmed.pruning.channels import removed_channels, without_channels
from ckdmed.pruning.prune import PrunedSize, prune

__all__ = ["PrunedSize", "prune", "removed_channels", "without_channels"]
