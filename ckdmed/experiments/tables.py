"""What the tables and pictures of all experiments are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ckdmed.reports import RunRecord, arm_table, patient_table
from ckdmed.reports.differences import paired_arms

__all__ = [
    "Group",
    "by_key",
    "is_comparable",
    "label_fraction_of",
    "named_arms",
    "over_patients",
    "percent_labelled",
    "same_time_tables",
    "section_title",
    "seconds_line",
]

Key = TypeVar("Key")


@dataclass(frozen=True)
class Group:
    """Runs that are compared with each other, in tables under one title and in one panel of the picture.

    Attributes:
        title: above them.
        section: whose scores these are, "test" or "validation"; empty where a record holds those of all.
        records: of the runs.
        names: arm -> name to print, in the order to print.
        baseline: the arm to compare with, None where it has not run.
        patient_metric: the mean over patients that is compared over patients, of which the larger is better.
    """

    title: str
    section: str
    records: Sequence[RunRecord]
    names: Mapping[str, str]
    baseline: str | None
    patient_metric: str


def by_key(records: Iterable[RunRecord], key: Callable[[RunRecord], Key]) -> dict[Key, list[RunRecord]]:
    """Key -> its records, in the order of the keys; within one as they are given."""
    groups: dict[Key, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return {name: groups[name] for name in sorted(groups)}  # type: ignore[type-var]


def label_fraction_of(record: RunRecord) -> float:
    """The fraction of training patients with labels."""
    return float(record.split["label_fraction"])


def percent_labelled(record: RunRecord) -> str:
    """The same in percent, with as many digits as it takes: fractions that differ have titles that differ."""
    return f"{100 * label_fraction_of(record):g}%"


def named_arms(records: Iterable[RunRecord], known: Mapping[str, str]) -> dict[str, str]:
    """The arms of the records: known ones in their order with their names to print, then the others under their own."""
    present = {record.arm for record in records}
    arms = {arm: label for arm, label in known.items() if arm in present}
    return arms | {arm: arm for arm in sorted(present - set(arms))}


def section_title(record: RunRecord) -> str:
    """ "Test set" or "Validation set", and whether its patients were trained on."""
    section = str(record.split["section"])
    seen = section == "validation" and record.settings.get("train_on_validation") is True
    return f"{section.capitalize()} set{' (trained on)' if seen else ''}"


def is_comparable(group: Group, metric: str) -> bool:
    """Whether the baseline and another arm to print share a run, and all records hold the scores of their patients."""
    if group.baseline not in {record.arm for record in group.records}:
        return False
    shared = {*paired_arms(group.records, str(group.baseline))} & {*group.names}
    return bool(shared) and all(record.patients.get(metric) for record in group.records)


def over_patients(
    group: Group, metric: str, baseline: str | None = None, names: Mapping[str, str] | None = None
) -> list[str]:
    """The table of differences over patients; none where the records do not hold their scores.

    Args:
        group: of the runs.
        metric: of patients.
        baseline, names: another arm to compare with, and the arms to show, by default those of the group.
    """
    first, shown = baseline or group.baseline, names or group.names
    own = [record for record in group.records if record.arm in {first, *shown}]
    compared = replace(group, records=own, names=shown, baseline=first)
    if first is None or not is_comparable(compared, metric):
        return []
    return [patient_table(own, metric, first, shown)]


def same_time_tables(
    group: Group, metrics: Sequence[str], metric: str, longer: str, names: Mapping[str, str]
) -> list[str]:
    """Arms beside the student that was trained alone for the time of the distilled one.

    Args:
        group: of the runs.
        metrics: of the first table.
        metric: of patients, for the second one.
        longer: that student's arm.
        names: arms to show, that one among them.
    """
    return [
        "Against the student trained alone for the same time:\n",
        arm_table(group.records, metrics, longer, names),
        *over_patients(group, metric, longer, names),
    ]


def seconds_line(records: Sequence[RunRecord], arms: Mapping[str, str]) -> str:
    """The mean seconds of each arm's runs, and the machines, as a line below a table."""
    entries = []
    for arm, label in arms.items():
        seconds = [record.seconds for record in records if record.arm == arm and record.seconds is not None]
        if seconds:
            entries.append(f"{label} {sum(seconds) / len(seconds):.0f}")
    machines = sorted({record.machine for record in records})
    return f"Seconds of training per run (mean): {', '.join(entries)}. Machine: {'; '.join(machines)}.\n"
