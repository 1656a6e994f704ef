"""The tables of a comparison, from its records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ckdmed.bundle.compare_arms import ARMS, BASELINE
from ckdmed.files import write_atomic
from ckdmed.reports import RunRecord, arm_table, read_records

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
    if len({record.data_sha256 for record in records}) > 1:
        raise ValueError("the records are of several datalists; make a table of one comparison at a time.")
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
        # of a distance the smaller is the better, so wins would count the wrong way round
        parts.append(arm_table(own, _DISTANCES, None, arms, decimals=2))
        parts.append(_times(own, arms))
    return "\n".join(parts)


def _times(records: Sequence[RunRecord], arms: Mapping[str, str]) -> str:
    entries = []
    for arm, label in arms.items():
        seconds = [record.seconds for record in records if record.arm == arm and record.seconds is not None]
        if seconds:
            entries.append(f"{label} {sum(seconds) / len(seconds):.0f}")
    machines = sorted({record.machine for record in records})
    return f"Seconds of training per run (mean): {', '.join(entries)}. Machine: {'; '.join(machines)}.\n"


def write_tables(folder: Path, path: Path, labels: Mapping[str, str] | None = None) -> str:
    """The tables of the records below ``folder`` (``validation`` and ``test``), written to ``path``.

    Raises:
        ValueError: there are no records.
    """
    records: list[RunRecord] = []
    for section in ("validation", "test"):
        if any((folder / section).glob("*.json")):
            records += read_records([folder / section])
    if not records:
        raise ValueError(f"{folder} holds no records; run the comparison first.")
    text = comparison_tables(records, labels)
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return text
