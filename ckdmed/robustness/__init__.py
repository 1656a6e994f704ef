"""What a trained network stands: its scores, and its teacher's beside them, over every corruption and severity."""

from __future__ import annotations

from ckdmed.robustness.evaluation import RobustnessEvaluation, RobustnessOptions
from ckdmed.robustness.networks import ScoredNetwork, networks_of
from ckdmed.robustness.points import CLEAN, Point, points_of
from ckdmed.robustness.tables import check_robustness_records, plot_robustness, robustness_tables

__all__ = [
    "CLEAN",
    "Point",
    "RobustnessEvaluation",
    "RobustnessOptions",
    "ScoredNetwork",
    "check_robustness_records",
    "networks_of",
    "plot_robustness",
    "points_of",
    "robustness_tables",
]
