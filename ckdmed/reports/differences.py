"""The paired difference of two arms' runs, over seeds or over patients."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ckdmed.metrics import PairedDifference, paired_difference

from .run_record import RunRecord

__all__ = [
    "PatientScores",
    "difference_over_patients",
    "difference_over_runs",
    "paired_arms",
    "scores_of_patients",
    "values_by_pair",
    "varied_by_runs",
]


def values_by_pair(records: Sequence[RunRecord], metric: str, arm: str) -> dict[str, float]:
    """A metric of each run of an arm, by what its run is paired by (seed and split); NaN where it is undefined.

    Raises:
        ValueError: when no record is of the arm, one lacks the metric, or the arm has a seed and split twice.
    """
    values = {}
    for pair, record in _by_pair(records, arm).items():
        if metric not in record.metrics:
            raise ValueError(
                f"run {record.name!r} of arm {arm!r} has no metric {metric!r}; it has {list(record.metrics)}"
            )
        value = record.metrics[metric]
        values[pair] = math.nan if value is None else float(value)
    return values


def difference_over_runs(
    records: Sequence[RunRecord], metric: str, arm: str, baseline: str, level: float = 0.95
) -> PairedDifference | None:
    """Mean of ``arm - baseline`` over the runs that both have, paired by seed and split, with Student's t interval.

    It asks what other seeds would have given on the same patients; of runs of several folds, what other runs would.

    Args:
        records: the runs; a pair (seed, split) occurs once per arm.
        metric: name in ``RunRecord.metrics``.
        arm, baseline: arms of the records.
        level: of the interval.

    Returns:
        None where the two share no run with a defined value.

    Raises:
        ValueError: see :func:`values_by_pair`.
    """
    values, base = (values_by_pair(records, metric, name) for name in (arm, baseline))
    shared = [p for p in values if p in base and not math.isnan(values[p]) and not math.isnan(base[p])]
    if not shared:
        return None
    return paired_difference({p: values[p] for p in shared}, {p: base[p] for p in shared}, level=level, method="t")


def varied_by_runs(records: Sequence[RunRecord]) -> str:
    """What the intervals of :func:`difference_over_runs` are over: "seeds", "folds" or "seeds and folds"."""
    folds = len({record.split["fold"] for record in records if "fold" in record.split}) > 1
    seeds = len({record.seed for record in records}) > 1
    return "seeds and folds" if folds and seeds else "folds" if folds else "seeds"


def difference_over_patients(
    records: Sequence[RunRecord], metric: str, arm: str, baseline: str, level: float = 0.95
) -> tuple[PairedDifference | None, int]:
    """Mean of ``arm - baseline`` over patients, each the mean of the runs that both arms have, with its interval.

    It asks what these runs would have given on other patients: the percentile bootstrap draws patients
    (:func:`~ckdmed.metrics.paired_difference`). A patient without a defined score in one of the arms is left out.

    Args:
        records: the runs, with ``patients[metric]``; a pair (seed, split) occurs once per arm.
        metric: name in ``RunRecord.patients``.
        arm, baseline: arms of the records.
        level: of the interval.

    Returns:
        The difference, None where no patient has a score in both, and the number of runs, 0 where they share none.

    Raises:
        ValueError: see :func:`scores_of_patients`.
    """
    found = scores_of_patients(records, metric, arm, baseline)
    if not found.of_arm:
        return None, found.runs
    return paired_difference(found.of_arm, found.of_baseline, level=level), found.runs


class PatientScores(NamedTuple):
    """The scores of patients in the runs that two arms share.

    Attributes:
        of_arm, of_baseline: patient -> one score a run, of those patients that have a defined one in both arms.
        runs: how many are shared.
    """

    of_arm: dict[str, list[float]]
    of_baseline: dict[str, list[float]]
    runs: int


def scores_of_patients(records: Sequence[RunRecord], metric: str, arm: str, baseline: str) -> PatientScores:
    """What :func:`difference_over_patients` compares.

    Raises:
        ValueError: when an arm is missing, a run has no such scores, or the runs are not of the same patients.
    """
    base, runs = (_by_pair(records, name) for name in (baseline, arm))
    shared = [pair for pair in runs if pair in base]
    of_arm, of_base = (_by_patient([all_runs[pair] for pair in shared], metric) for all_runs in (runs, base))
    undefined = {patient for scores in (of_arm, of_base) for patient in scores if np.isnan(scores[patient]).all()}
    own, base_own = (
        {patient: values for patient, values in scores.items() if patient not in undefined}
        for scores in (of_arm, of_base)
    )
    return PatientScores(own, base_own, len(shared))


def paired_arms(records: Sequence[RunRecord], baseline: str) -> list[str]:
    """The arms that have a run of the same seed and split as one of the baseline's, without that one.

    Raises:
        ValueError: see :func:`values_by_pair`.
    """
    base = _by_pair(records, baseline)
    others = dict.fromkeys(record.arm for record in records if record.arm != baseline)
    return [arm for arm in others if _by_pair(records, arm).keys() & base.keys()]


def _by_pair(records: Sequence[RunRecord], arm: str) -> dict[str, RunRecord]:
    runs: dict[str, RunRecord] = {}
    for record in records:
        if record.arm != arm:
            continue
        pair = f"seed {record.seed}, split {json.dumps(record.split, sort_keys=True)}"
        if pair in runs:
            raise ValueError(f"arm {arm!r} has {pair} twice: runs {runs[pair].name!r} and {record.name!r}")
        runs[pair] = record
    if not runs:
        raise ValueError(f"no record is of arm {arm!r}; there are {sorted({r.arm for r in records})}")
    return runs


def _by_patient(runs: Sequence[RunRecord], metric: str) -> dict[str, list[float]]:
    """The scores of each patient, one for each run on a split that has the patient in its section."""
    scores: dict[str, list[float]] = {}
    of_split: dict[str, list[set[str]]] = {}
    for run in runs:
        if not run.patients.get(metric):
            raise ValueError(f"run {run.name!r} has no scores of patients for {metric!r}; it has {list(run.patients)}")
        of_split.setdefault(json.dumps(run.split, sort_keys=True), []).append(set(run.patients[metric]))
        for patient, score in run.patients[metric].items():
            scores.setdefault(patient, []).append(math.nan if score is None else float(score))
    # folds have patients of their own, seeds have not
    uneven = sorted({p for sets in of_split.values() for of_run in sets for p in sets[0] ^ of_run})
    if uneven:
        raise ValueError(f"the runs {[run.name for run in runs]} do not cover the same patients: {uneven[:5]}")
    return scores
