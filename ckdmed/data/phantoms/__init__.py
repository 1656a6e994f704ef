"""Generators of brain-like test data with tumours."""

from __future__ import annotations

from .brats import write_brats_phantoms
from .figshare import write_figshare_phantoms

__all__ = ["write_brats_phantoms", "write_figshare_phantoms"]
