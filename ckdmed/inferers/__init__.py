"""Inferers that MONAI lacks."""

from __future__ import annotations

from .autocast import AutocastInferer

__all__ = ["AutocastInferer"]
