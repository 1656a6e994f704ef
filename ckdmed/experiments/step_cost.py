"""What a training step costs, by the history of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import torch

__all__ = ["STEP_COST", "clock", "step_costs"]

#: name of the cost in records
STEP_COST = "ms per step"


def clock() -> str:
    """The clock of a history by which runs are compared: without a GPU processor time, since what else a machine had to
    do is not the price of a method."""
    return "seconds" if torch.cuda.is_available() else "cpu_seconds"


def step_costs(history: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Milliseconds of a training step, without validation: the median over the epochs.

    The first epoch, which warms up and may fill a cache of teacher outputs, counts only where it is the only one.

    Args:
        history: rows of :class:`~ckdmed.handlers.TrainingHistory`, in their order.

    Returns:
        The cost by its name; nothing for histories of earlier versions, which do not hold it.
    """
    key = f"step_{clock()}"
    before = [0, *(row["iteration"] for row in history)]
    costs = [1000 * row[key] / (row["iteration"] - steps) for row, steps in zip(history, before) if key in row]
    return {STEP_COST: round(median(costs[1:] or costs), 3)} if costs else {}
