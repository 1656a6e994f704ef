"""What is kept of an evaluation: the score of each patient that networks are compared by, and others beside it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ckdmed.json_files import read_json
from ckdmed.labels import REGIONS
from ckdmed.metrics import group_values, patient_key_of

__all__ = ["read_scores"]

Scores = dict[str, float | None]

_DICE, _RIGHT = "Dice per patient", "right slices per patient"


def read_scores(folder: Path) -> tuple[Scores, str, Scores]:
    """The scores that an evaluation left in its folder.

    Returns:
        Means by name, the mean over patients among them; its name; and its value of each patient group. The score of
        a patient is the mean of its slices, of a case that of its regions: Dice, or 1 for a right class and else 0.

    Raises:
        ValueError: a file that is no JSON.
    """
    summary = read_json(folder / "summary.json")
    table = folder / "probabilities.csv"
    if table.is_file():
        return _of_classes(summary, table)
    patients = {str(row[summary["patient_key"]]): row["dice"] for row in summary["per_patient"]}
    overall = summary["overall"]
    found: Scores = {_DICE: overall["dice"]["patient_mean"]}
    if "lesionwise_dice" in overall:
        parts = summary["per_region"]
        found |= {f"Dice {name}": parts[name]["overall"]["dice"]["patient_mean"] for name in REGIONS if name in parts}
        found["lesion-wise Dice"] = overall["lesionwise_dice"]["patient_mean"]
    else:
        found["Dice per slice"] = overall["dice"]["slice_mean"]
    found[f"HD95 [{summary['unit']}]"] = overall["hd95"]["patient_mean"]
    return found, _DICE, patients


def _of_classes(summary: Mapping[str, Any], table: Path) -> tuple[Scores, str, Scores]:
    with table.open(encoding="utf-8", newline="") as stream:
        read = list(csv.DictReader(stream))
    rows: Sequence[Mapping[str, Any]] = [{**row, "right": row["label"] == row["predicted"]} for row in read]
    means = {name: float(np.mean(hits)) for name, hits in group_values(rows, "right", patient_key_of(rows)).items()}
    slices, patients = summary["slices"], summary["patients"]
    found: Scores = {_RIGHT: float(np.mean(list(means.values()))), "accuracy per slice": slices["accuracy"]}
    if patients is not None:
        found["accuracy per patient"] = patients["accuracy"]
    return {**found, "calibration error": slices["ece"]}, _RIGHT, dict(means)
