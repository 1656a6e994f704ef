"""Scores of several regions of one sample as one row: their means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["mean_over_regions"]

_KEPT = ("id", "patient", "patient_group", "class", "unit")


def mean_over_regions(
    rows: Sequence[Mapping[str, Any]], regions: Sequence[str], scores: Sequence[str], kind: str = "case"
) -> list[dict[str, Any]]:
    """One row for each sample: the means over its regions, without those that are undefined (NaN).

    Args:
        rows: a mapping per sample and region: id, patient, class, region and the scores.
        regions: each sample must have every one of them once.
        scores: the columns to average.
        kind: what a sample is called in a message.

    Raises:
        ValueError: a sample lacks a region or has it twice.
    """
    of: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of.setdefault(str(row["id"]), []).append(row)
    means = []
    for name, own in of.items():
        if sorted(str(row["region"]) for row in own) != sorted(regions):
            raise ValueError(
                f"the {kind} {name} has rows for {', '.join(str(row['region']) for row in own)}; one is needed for "
                f"each of {', '.join(regions)}."
            )
        mean = {key: own[0][key] for key in _KEPT if key in own[0]}
        for score in scores:
            values = np.array([float(row[score]) for row in own])
            mean[score] = float("nan") if np.isnan(values).all() else float(np.nanmean(values))
        means.append(mean)
    return means
