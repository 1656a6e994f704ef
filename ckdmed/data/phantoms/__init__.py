"""Generators of brain-like test data with tumours."""

from __future__ import annotations

from .brats import PHANTOM_RELEASE, write_brats_phantoms
from .figshare import write_figshare_phantoms
from .preview import write_preview

__all__ = ["PHANTOM_RELEASE", "write_brats_phantoms", "write_figshare_phantoms", "write_preview"]
