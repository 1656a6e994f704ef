"""The workflow in whose configuration an expression stands."""

from __future__ import annotations

import sys

from monai.bundle import ConfigWorkflow

__all__ = ["running_workflow"]


def running_workflow() -> ConfigWorkflow | None:
    """The workflow in whose configuration the calling expression stands, or None outside of one.

    A MONAI configuration cannot refer to itself, so the workflow is found among the callers of the expression.
    """
    frame = sys._getframe(1)
    while frame is not None:
        candidate = frame.f_locals.get("self")
        if isinstance(candidate, ConfigWorkflow):
            return candidate
        frame = frame.f_back  # type: ignore[assignment]
    return None
