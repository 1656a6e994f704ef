"""Numbers and values in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "NONE",
    "duration",
    "file_size",
    "large_number",
    "number",
    "interval",
    "score_name",
    "shown_value",
    "is_smaller_better",
]

#: where there is no value
NONE = "-"
_SCORES = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95": "HD95",
    "asd": "mean surface distance",
    "lesionwise_dice": "lesion-wise Dice",
    "lesionwise_hd95_mm": "lesion-wise HD95",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "F1 (mean of classes)",
    "macro_auc": "AUC (mean of classes)",
    "ece": "calibration error",
    "nll": "negative log-likelihood",
    "auc": "AUC",
    "f1": "F1",
}
_DISTANCES = ("hd95", "asd", "lesionwise_hd95_mm")
_SMALLER = ("hd95", "asd", "ece", "nll", "loss", "[mm]", "[px]", "seconds", "parameters")


def number(value: Any, score: str = "") -> str:
    """A score with four decimals, a distance with two; what is missing or undefined as "-"."""
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return NONE
    return f"{value:.{2 if score in _DISTANCES else 4}f}"


def interval(ends: Any, score: str = "") -> str:
    """ "0.7123 to 0.8211", "-" where an end is missing."""
    if not isinstance(ends, Sequence) or len(ends) != 2:
        return NONE
    low, high = (number(end, score) for end in ends)
    return NONE if NONE in (low, high) else f"{low} to {high}"


def score_name(score: str, unit: str | None = None) -> str:
    """A score's name as a reader knows it, distances with their unit."""
    name = _SCORES.get(score, score.replace("_", " "))
    if score in _DISTANCES:
        return f"{name} [{'mm' if score.endswith('_mm') else unit or 'px'}]"
    return name


def is_smaller_better(metric: str) -> bool:
    """Whether the smaller value of a metric wins, by its name: distances, losses, errors, costs."""
    lower = metric.lower()
    return any(word in lower for word in _SMALLER)


def duration(seconds: float) -> str:
    """ "48 s", "12 min", "3 h 20 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def file_size(size: int) -> str:
    """ "512 B", "3.8 MB" (of 1,000,000 bytes)."""
    return f"{size} B" if size < 1000 else f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def large_number(value: int) -> str:
    """ "512", "3.81 million"."""
    return (
        f"{value}" if value < 10_000 else f"{value / 1e3:.0f} thousand" if value < 1e6 else f"{value / 1e6:.2f} million"
    )


def shown_value(value: Any) -> str:
    """A setting's value on one line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {shown_value(part)}" for key, part in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        # one teacher of two sequences is not two teachers of one each
        parts = [part if isinstance(part, (list, tuple)) else [part] for part in value]
        return ", ".join(" + ".join(map(shown_value, part)) for part in parts) or "none"
    return str(value)
