"""A comparison of arms over seeds, by its records."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ckdmed.metrics import PairedDifference
from ckdmed.reports import RunRecord, corrected_differences, mean_sd, plot_forest
from ckdmed.reports.differences import (
    difference_over_patients,
    difference_over_runs,
    values_by_pair,
    varied_by_runs,
)

from .blocks import Intervals, Picture, Section, Table, Text
from .words import NONE, duration, is_smaller_better, shown_value

__all__ = ["ComparedArms", "comparison_sections"]


@dataclass(frozen=True)
class ComparedArms:
    """Runs that are compared with each other.

    Attributes:
        title: above them.
        records: of the runs.
        names: arm -> name to print, in the order to print.
        baseline: the arm to compare with, or None.
        patient_metric: a mean over patients that is compared over patients, or None.
        holm: whether the intervals over patients are corrected for the number of arms.
    """

    title: str
    records: Sequence[RunRecord]
    names: Mapping[str, str]
    baseline: str | None = None
    patient_metric: str | None = None
    holm: bool = False


def comparison_sections(groups: Sequence[ComparedArms], stem: str) -> list[Section]:
    """A part for each group, and one of how the runs were made.

    Args:
        groups: at least one, each with records.
        stem: begins the names of pictures.

    Raises:
        ValueError: records that cannot be paired, see `ckdmed.reports.differences`.
    """
    parts = [_group(group, f"{stem}-{number}") for number, group in enumerate(groups, 1)]
    return [*parts, _origin([record for group in groups for record in group.records])]


def _group(group: ComparedArms, stem: str) -> Section:
    records = list(group.records)
    runs = Counter(record.arm for record in records)
    arms = {arm: label for arm, label in group.names.items() if arm in runs}
    metrics = _shared_metrics(records)
    rows = [
        [
            label,
            str(runs[arm]),
            *(mean_sd(list(values_by_pair(records, metric, arm).values()), _decimals(metric)) for metric in metrics),
        ]
        for arm, label in arms.items()
    ]
    blocks: list[Any] = [Table(["arm", "runs", *metrics], rows, "Mean and standard deviation over the runs of an arm")]
    base = group.baseline if group.baseline in runs and len(arms) > 1 else None
    if base is not None:
        blocks += _differences(records, metrics, base, arms)
        blocks += _over_patients(group, base, arms, stem)
    return Section(group.title, blocks)


def _shared_metrics(records: Sequence[RunRecord]) -> list[str]:
    """Metrics that all runs have, in the order of the first."""
    return [metric for metric in records[0].metrics if all(metric in record.metrics for record in records)]


def _differences(
    records: Sequence[RunRecord], metrics: Sequence[str], base: str, arms: Mapping[str, str]
) -> list[Table]:
    """A table for each metric, of which the first is open."""
    tables = []
    for number, metric in enumerate(metrics):
        rows = []
        for arm, label in arms.items():
            if arm == base:
                continue
            got = difference_over_runs(records, metric, arm, base)
            if got is None:
                rows.append([label, NONE, NONE, NONE])
                continue
            decimals, ends = _decimals(metric), _ends(got)
            wins = got.losses if is_smaller_better(metric) else got.wins
            shown = NONE if ends is None else f"{ends[0]:+.{decimals}f} to {ends[1]:+.{decimals}f}"
            rows.append([label, f"{got.estimate:+.{decimals}f}", shown, f"{wins} of {got.n}"])
        caption = f"{metric}: difference to {arms[base]}, paired by seed and split"
        head = ["arm", "difference", "95% interval over runs", "better in"]
        tables.append(Table(head, rows, caption, folded=number > 0))
    return tables


def _over_patients(group: ComparedArms, base: str, arms: Mapping[str, str], stem: str) -> list[Any]:
    metric = group.patient_metric
    if metric is None or not all(record.patients.get(metric) for record in group.records):
        return [Text("The records hold no scores of single patients; there is no interval over patients.", "note")]
    drawn = []
    for arm, patients in _of_patients(group, metric, base, [arm for arm in arms if arm != base]).items():
        seeds = difference_over_runs(group.records, metric, arm, base)
        drawn.append((arms[arm], patients.estimate, _ends(patients), None if seeds is None else _ends(seeds)))
    if not drawn:
        return []
    with TemporaryDirectory() as folder:
        png = plot_forest(
            {group.title: group.records}, metric, base, Path(folder) / "forest.png", dict(arms), holm=group.holm
        )
        picture = Picture(png.read_bytes(), f"{stem}-forest.png", f"Forest plot: {metric}")
    title = f"{metric}: difference to {arms[base]}"
    key = (f"95% over patients{' (Holm)' if group.holm else ''}", f"95% over {varied_by_runs(group.records)}")
    return [Intervals(title, metric, drawn, key, zero=True, picture=picture)]


def _of_patients(group: ComparedArms, metric: str, base: str, arms: Sequence[str]) -> dict[str, PairedDifference]:
    """Arm -> its difference over patients; an arm without a patient that has a score in both is left out."""
    if group.holm:
        corrected = corrected_differences(group.records, metric, base, arms)
        return {arm: found.difference for arm, found in corrected.items()}
    each = {arm: difference_over_patients(group.records, metric, arm, base)[0] for arm in arms}
    return {arm: found for arm, found in each.items() if found is not None}


def _ends(of: PairedDifference) -> tuple[float, float] | None:
    return (of.low, of.high) if math.isfinite(of.low) and math.isfinite(of.high) else None


def _decimals(metric: str) -> int:
    return 2 if any(word in metric.lower() for word in ("hd95", "asd", "[mm]", "[px]")) else 4


def _origin(records: Sequence[RunRecord]) -> Section:
    rows = [
        [
            record.name,
            record.arm,
            str(record.seed),
            str(record.split.get("section", "")),
            NONE if record.seconds is None else duration(record.seconds),
            record.machine,
            record.notes,
        ]
        for record in records
    ]
    settings = [record.settings for record in records]
    shared = {key: settings[0][key] for key in settings[0] if all(own.get(key) == settings[0][key] for own in settings)}
    data = sorted({record.data_sha256[:12] or "no datalist" for record in records})
    return Section(
        "How the runs were made",
        [
            Table(["run", "arm", "seed", "section", "time", "machine", "notes"], rows, "Runs", True, True),
            Table(
                ["setting", "value"],
                [[name, shown_value(value)] for name, value in shared.items()],
                "Settings that all runs share",
                folded=True,
                prose=True,
            ),
            Text(f"Data (first letters of the SHA-256 of the datalist): {', '.join(data)}.", "note"),
        ],
        folded=True,
    )
