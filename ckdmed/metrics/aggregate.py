from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .bootstrap import bootstrap_interval
from .segmentation import DISTANCE_SCORES, SEGMENTATION_SCORES

__all__ = ["aggregate_scores", "group_values", "patient_key_of"]

Row = Mapping[str, Any]

# columns that hold a distance and so a penalty where one of the masks is empty
_PENALISED = ("truth", "prediction")


def aggregate_scores(
    rows: Sequence[Row],
    scores: Sequence[str] | None = None,
    patient_key: str | None = None,
    class_key: str = "class",
    n: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Means per slice, per patient and per class of the rows of an evaluation, with intervals over patients.

    The slice mean weighs every slice equally; the patient mean is the mean over patients of the mean over a patient's
    slices. Both intervals come from drawing whole patients. NaN marks an undefined value: it is left out of its own
    score alone, and counted. A distance of a slice with one empty mask is the penalty of ``segmentation_scores``:
    it is part of the means, counted in ``n_penalised``, and ``slice_mean_unpenalised`` is the mean without it.

    Args:
        rows: one mapping per slice (or volume, or volume and region) with ``id``, the patient, the class and the
            scores; ``empty`` and ``unit`` as ``segmentation_scores`` gives them, where there are distances.
        scores: the columns to aggregate; by default those of ``SEGMENTATION_SCORES`` that the first row has.
        patient_key: the column that identifies patients; by default "patient_group" where every row has one (persons
            whose suffixed codes belong together), else "patient".
        class_key: the column to break down by ("class", or "region"); rows that lack it are left out of the breakdown.
        n, level, seed: of the bootstrap, see ``bootstrap_interval``.

    Returns:
        ``patient_key``, ``n_slices``, ``n_patients``, ``unit`` (or None), ``empty`` (how many rows of each kind),
        ``level``, ``overall`` {score: summary}, ``per_class`` {class: {n_slices, n_patients, scores}} and
        ``per_patient`` (one row per patient, sorted). A summary holds slice_mean, slice_sd, slice_median,
        slice_interval, patient_mean, patient_sd, patient_interval, n_slices, n_patients, n_undefined, and for distances
        n_penalised and slice_mean_unpenalised.

    Raises:
        ValueError: when there are no rows, a row lacks a score or its patient, or rows mix units.
    """
    if not rows:
        raise ValueError("there are no rows to aggregate: the evaluation scored nothing")
    names = list(scores) if scores is not None else [s for s in SEGMENTATION_SCORES if s in rows[0]]
    if not names:
        raise ValueError(f"the first row has none of {', '.join(SEGMENTATION_SCORES)}; name the columns with scores=")
    key = patient_key or patient_key_of(rows)
    for row in rows:
        missing = [name for name in [*names, key] if row.get(name) in (None, "")]
        if missing:
            raise ValueError(f"row {row.get('id')!r} lacks {', '.join(missing)}; every row needs all of its scores")
    units = {row["unit"] for row in rows if row.get("unit")}
    if len(units) > 1:
        raise ValueError(f"rows mix the units {sorted(units)}; aggregate mm and px separately")

    settings: dict[str, Any] = {"key": key, "n": n, "level": level, "seed": seed}
    classes = {str(row[class_key]) for row in rows if row.get(class_key) not in (None, "")}
    per_class = {}
    for name in sorted(classes):
        own = [row for row in rows if str(row.get(class_key)) == name]
        per_class[name] = {
            "n_slices": len(own),
            "n_patients": len({str(row[key]) for row in own}),
            "scores": {score: _summary(own, score, **settings) for score in names},
        }
    empties = [str(row["empty"]) for row in rows if row.get("empty")]
    return {
        "patient_key": key,
        "n_slices": len(rows),
        "n_patients": len({str(row[key]) for row in rows}),
        "unit": units.pop() if units else None,
        "empty": {kind: empties.count(kind) for kind in ("none", "truth", "prediction", "both")} if empties else None,
        "level": level,
        "overall": {score: _summary(rows, score, **settings) for score in names},
        "per_class": per_class,
        "per_patient": _per_patient(rows, names, key),
    }


def patient_key_of(rows: Sequence[Row]) -> str:
    """The column that identifies patients: "patient_group" where every row has one, else "patient"."""
    return "patient_group" if all(row.get("patient_group") not in (None, "") for row in rows) else "patient"


def group_values(rows: Sequence[Row], score: str, key: str) -> dict[str, list[float]]:
    """The values of one score by patient, NaN included: what ``bootstrap_interval`` and ``paired_difference`` take."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(str(row[key]), []).append(float(row[score]))
    return groups


def _summary(rows: Sequence[Row], score: str, key: str, n: int, level: float, seed: int) -> dict[str, Any]:
    values = np.array([float(row[score]) for row in rows])
    defined = values[~np.isnan(values)]
    summary: dict[str, Any] = {"n_slices": defined.size, "n_undefined": int(values.size - defined.size)}
    if defined.size:
        groups = group_values(rows, score, key)
        by_patient = bootstrap_interval(groups, "mean", n, level, seed)
        by_slice = bootstrap_interval(groups, "pooled", n, level, seed)
        means = np.array([np.nanmean(g) for g in groups.values() if not np.isnan(g).all()])
        summary |= {
            "slice_mean": by_slice.estimate,
            "slice_sd": _sd(defined),
            "slice_median": float(np.median(defined)),
            "slice_interval": [by_slice.low, by_slice.high],
            "patient_mean": by_patient.estimate,
            "patient_sd": _sd(means),
            "patient_interval": [by_patient.low, by_patient.high],
            "n_patients": by_patient.n_groups,
        }
    else:
        undefined = dict.fromkeys(("slice_mean", "slice_sd", "slice_median", "patient_mean", "patient_sd"), np.nan)
        summary |= undefined | {"slice_interval": [np.nan] * 2, "patient_interval": [np.nan] * 2, "n_patients": 0}
    if score in DISTANCE_SCORES and any(row.get("empty") for row in rows):
        kept = np.array([float(row[score]) for row in rows if row.get("empty") not in _PENALISED])
        summary["n_penalised"] = len(rows) - kept.size
        summary["slice_mean_unpenalised"] = float(np.nanmean(kept)) if kept.size else np.nan
    return summary


def _per_patient(rows: Sequence[Row], names: Sequence[str], key: str) -> list[dict[str, Any]]:
    values = {name: group_values(rows, name, key) for name in names}
    table = []
    for patient in sorted({str(row[key]) for row in rows}):
        entry: dict[str, Any] = {key: patient, "n_slices": len(values[names[0]][patient])}
        for name in names:
            own = np.array(values[name][patient])
            entry[name] = float(np.nanmean(own)) if not np.isnan(own).all() else np.nan
        table.append(entry)
    return table


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else float("nan")
