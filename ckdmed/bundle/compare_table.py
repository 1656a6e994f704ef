"""The tables of a comparison, from its records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ckdmed.bundle.compare_arms import ARMS, BASELINE
from ckdmed.bundle.recorded_runs import check_one_datalist, read_sections, seconds_line, write_table
from ckdmed.reports import RunRecord, arm_table

__all__ = ["comparison_tables", "write_tables"]

_METRICS = ("Dice per slice", "Dice per patient")
_DISTANCES = ("HD95 per slice",)


def comparison_tables(records: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> str:
    """Markdown: for each section and share of labelled patients, the arms with their differences to the student alone.

    Args:
        records: of :class:`~ckdmed.bundle.compare.Comparison`.
        labels: arm -> name to print, in the order to print; unknown arms follow under their own names.

    Raises:
        ValueError: no records, or records of several datalists, which are not comparable.
    """
    check_one_datalist(records)
    names = {**{arm.name: arm.label for arm in ARMS.values()}, **(labels or {})}
    parts = []
    keys = sorted({(r.split["section"], -r.split["labelled_fraction"]) for r in records}, reverse=True)
    for section, regime in sorted(keys, key=lambda key: (key[0] != "test", key[1])):
        own = [r for r in records if (r.split["section"], -r.split["labelled_fraction"]) == (section, regime)]
        present = {record.arm for record in own}
        arms = {name: label for name, label in names.items() if name in present}
        arms |= {name: name for name in sorted(present - set(arms))}
        baseline = BASELINE if BASELINE in present else None
        parts.append(f"### {section.capitalize()} section, {-regime:.0%} of the training patients labelled\n")
        parts.append(arm_table(own, _METRICS, baseline, arms))
        parts.append(arm_table(own, _DISTANCES, baseline, arms, decimals=2, smaller_is_better=_DISTANCES))
        parts.append(seconds_line(own, arms))
    return "\n".join(parts)


def write_tables(folder: Path, path: Path, labels: Mapping[str, str] | None = None) -> str:
    """The tables of the records below ``folder`` (``validation`` and ``test``), written to ``path``.

    Raises:
        ValueError: there are no records.
    """
    return write_table(comparison_tables(read_sections(folder), labels), path)
