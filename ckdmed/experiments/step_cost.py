"""What a training step costs, by the history of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any

import torch

from ckdmed.experiments.tables import Group
from ckdmed.reports import markdown_table, mean_sd

__all__ = ["clock", "cost_table", "step_costs"]

#: clock of a history -> what records call the cost of a step by it
_COSTS = {"seconds": "ms per step", "cpu_seconds": "processor ms per step"}


def clock() -> str:
    """The clock of a history by which runs are compared: without a GPU processor time, since what else a machine had to
    do is not the price of a method."""
    return "seconds" if torch.cuda.is_available() else "cpu_seconds"


def step_costs(history: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Milliseconds of a training step, without validation, by both clocks: medians over the epochs.

    The first epoch, which warms up and may fill a cache of teacher outputs, counts only where it is the only one.

    Args:
        history: rows of :class:`~ckdmed.handlers.TrainingHistory`, in their order.

    Returns:
        The costs by name; none of histories of earlier versions, which do not hold them.
    """
    before = [0, *(row["iteration"] for row in history)]
    found: dict[str, float | None] = {}
    for own, name in _COSTS.items():
        key = f"step_{own}"
        costs = [1000 * row[key] / (row["iteration"] - steps) for row, steps in zip(history, before) if key in row]
        if costs:
            found[name] = round(median(costs[1:] or costs), 3)
    return found


def cost_table(group: Group) -> str:
    """Markdown: what a training step of each arm costs, in milliseconds and as a multiple of the baseline's.

    Of machines without a GPU it is processor time. An arm whose records hold no costs, as those of earlier versions,
    has "-". The multiple is of runs on one machine; where an arm and the baseline share several, of the mean of these.
    """
    name = _COSTS["cpu_seconds" if all("no GPU" in record.machine for record in group.records) else "seconds"]
    base = _by_machine(group, group.baseline or "", name)
    rows, apart = [], []
    for arm, label in group.names.items():
        own = _by_machine(group, arm, name)
        shared = [machine for machine in own if machine in base]
        times = mean(mean(own[machine]) / mean(base[machine]) for machine in shared) if shared else None
        rows.append([label, mean_sd([cost for costs in own.values() for cost in costs], 1), _times(times)])
        if own and base and not shared:
            apart.append(f"{label} ({', '.join(own)})")
    baseline = group.names.get(group.baseline or "", "the baseline")
    table = markdown_table(["arm", name, f"times {baseline}"], rows)
    if apart:
        table += f"\nMeasured on another machine than {baseline}, and so not comparable with it: {'; '.join(apart)}.\n"
    return table


def _by_machine(group: Group, arm: str, name: str) -> dict[str, list[float]]:
    costs: dict[str, list[float]] = {}
    for record in group.records:
        if record.arm == arm and (value := record.costs.get(name)) is not None:
            costs.setdefault(record.machine, []).append(value)
    return costs


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
