"""A progress bar over the slices or windows of one input."""

from __future__ import annotations

from typing import Any

__all__ = ["show_progress"]


def show_progress(inferer: Any) -> None:
    """Let the innermost of wrapped inferers show a bar, where it is one of MONAI's that can.

    Args:
        inferer: an inferer; what it wraps is its ``inferer``.
    """
    while (inner := getattr(inferer, "inferer", None)) is not None:
        inferer = inner
    if hasattr(inferer, "progress"):
        inferer.progress = True
