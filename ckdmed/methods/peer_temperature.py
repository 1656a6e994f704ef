"""The temperature at which peers learn from a student that learns from them."""

from __future__ import annotations

from typing import Any

from ckdmed.losses.performance_weights import PerformanceWeightedLoss
from ckdmed.losses.total import DistillationLoss

__all__ = ["peer_temperature"]


def peer_temperature(method: Any, loss: DistillationLoss) -> float:
    """For :class:`~ckdmed.losses.CooperativeTeacherLoss`: of ``mutual`` that of the student's own term, else 1.

    Args:
        method: a name of the registry, or a function of one's own.
        loss: what the method made.
    """
    term = loss.active_terms.get("response")
    if method != "mutual" or term is None or not isinstance(term.loss, PerformanceWeightedLoss):
        return 1.0
    return float(getattr(term.loss.loss, "temperature", None) or 1.0)
