"""Comparisons of trainings over seeds: what is compared, the runs, their records, tables and pictures.

Each experiment is a module of this package that holds its declaration as ``EXPERIMENT``; its name and what it asks
stand in :data:`EXPERIMENTS`, so that a command line can list them without importing any.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckdmed.experiments.engine import Experiment

__all__ = ["EXPERIMENTS", "experiment"]

#: name -> what it does
EXPERIMENTS = {
    "compare": "train segmentation students with and without a teacher, over seeds and label fractions",
    "ablation": "train COHRA-UNet with one design choice changed at a time, over seeds",
    "unimodal": "train students of one MR sequence, alone and with multi-sequence teachers, over seeds",
    "table1": "train the reports' four classification teachers, their four students, and the student alone",
    "methods": "train a student by every distillation method, from every fusion teacher, and alone, over seeds",
    "sweep": "train a student by one method with different temperatures, weights or other settings, over seeds",
    "sizes": "train students of several widths, alone and by one method, over seeds: gain and cost of each",
}


def experiment(name: str) -> type[Experiment]:
    """The declaration of an experiment.

    Raises:
        ValueError: an unknown name; the message lists those that there are.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"there is no experiment {name!r}; there are {', '.join(EXPERIMENTS)}.")
    declared: type[Experiment] = importlib.import_module(f"{__name__}.{name}").EXPERIMENT
    return declared
