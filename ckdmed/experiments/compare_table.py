"""The tables and the picture of a comparison, from its records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ckdmed.experiments.compare_arms import ARMS, BASELINE, PATIENT_METRIC
from ckdmed.experiments.recorded_runs import check_one_datalist, read_sections, seconds_line, write_table
from ckdmed.reports import RunRecord, arm_table, patient_table, plot_forest

__all__ = ["comparison_picture", "comparison_summary", "comparison_tables", "write_comparison"]

_METRICS = ("Dice per slice", PATIENT_METRIC)
_DISTANCES = ("HD95 per slice",)
# what is held against the student alone with as much time: ours, and the arm that takes no more time than ours
_OURS, _PSEUDO, _LONGER = "ours", "hard_pseudo", "alone_longer"


def comparison_tables(records: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> str:
    """Markdown: for each section and share of labelled patients, the arms with their differences to the student alone,
    and those of ours and of the hard pseudo-labels to the student that was given the time of ours.

    Args:
        records: of :class:`~ckdmed.experiments.compare.Comparison`.
        labels: arm -> name to print, in the order to print; unknown arms follow under their own names.

    Raises:
        ValueError: no records, or records of several datalists, which are not comparable.
    """
    check_one_datalist(records)
    parts = []
    for (section, regime), own in _by_regime(records).items():
        arms, baseline = _arms(own, labels)
        parts.append(f"### {_title(section, regime)}\n")
        parts.append(arm_table(own, _METRICS, baseline, arms))
        parts.append(arm_table(own, _DISTANCES, baseline, arms, decimals=2, smaller_is_better=_DISTANCES))
        if baseline is not None:
            parts += _over_patients(own, baseline, arms)
        if {_OURS, _LONGER} <= set(arms):
            shown = {name: label for name, label in arms.items() if name in (_OURS, _PSEUDO, _LONGER)}
            parts.append("Against the student alone that was given the time of ours:\n")
            parts.append(arm_table(own, _METRICS, _LONGER, shown))
            parts += _over_patients(own, _LONGER, shown)
        parts.append(seconds_line(own, arms))
    return "\n".join(parts)


def comparison_summary(records: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> str:
    """Markdown: Dice per slice of the arms, a table for each share of labels; of the test section if it was looked at.

    Args, Raises: those of :func:`comparison_tables`.
    """
    check_one_datalist(records)
    parts = []
    for title, own in _of_first_section(records).items():
        arms, baseline = _arms(own, labels)
        parts.append(f"{title}:\n")
        parts.append(arm_table(own, _METRICS[:1], baseline, arms))
    return "\n".join(parts)


def comparison_picture(
    records: Sequence[RunRecord], path: Path, labels: Mapping[str, str] | None = None
) -> Path | None:
    """Draw what the arms gain over the student alone in Dice per patient, with intervals over patients and over seeds;
    of the test section if it was looked at.

    Args:
        records, labels: those of :func:`comparison_tables`.
        path: where the PNG goes.

    Returns:
        ``path``, or None where no share of labels has the student alone and another arm, with the scores of their
        patients.

    Raises:
        ValueError: those of :func:`comparison_tables`.
    """
    check_one_datalist(records)
    arms, baseline = _arms(records, labels)
    panels = {title: own for title, own in _of_first_section(records).items() if _comparable(own, baseline)}
    return plot_forest(panels, PATIENT_METRIC, BASELINE, path, arms) if panels else None


def _over_patients(records: Sequence[RunRecord], baseline: str, arms: Mapping[str, str]) -> list[str]:
    """The table over patients, if the records hold their scores and there is an arm to compare."""
    own = [record for record in records if record.arm in {baseline, *arms}]
    return [patient_table(own, PATIENT_METRIC, baseline, arms)] if _comparable(own, baseline) else []


def _comparable(records: Sequence[RunRecord], baseline: str | None) -> bool:
    """Whether the baseline and another arm have run, and all records hold the scores of their patients."""
    arms = {record.arm for record in records}
    return baseline in arms and len(arms) > 1 and all(record.patients.get(PATIENT_METRIC) for record in records)


def _title(section: str, regime: float) -> str:
    return f"{section.capitalize()} section, {regime:.0%} of the training patients labelled"


def _of_first_section(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Title -> records of each share of labels; of the test section if it was looked at."""
    groups = _by_regime(records)
    shown = next(iter(groups))[0]
    return {_title(section, regime): own for (section, regime), own in groups.items() if section == shown}


def _by_regime(records: Sequence[RunRecord]) -> dict[tuple[str, float], list[RunRecord]]:
    """Section and share of labels -> records: the test section first, more labels first."""
    groups: dict[tuple[str, float], list[RunRecord]] = {}
    for record in sorted(records, key=lambda r: (r.split["section"] != "test", -r.split["label_fraction"])):
        groups.setdefault((record.split["section"], record.split["label_fraction"]), []).append(record)
    return groups


def _arms(records: Sequence[RunRecord], labels: Mapping[str, str] | None) -> tuple[dict[str, str], str | None]:
    """What the arms that have run are called, in the order to print, and the one to compare with if it has run."""
    names = {**{arm.name: arm.label for arm in ARMS.values()}, **(labels or {})}
    present = {record.arm for record in records}
    arms = {name: label for name, label in names.items() if name in present}
    return arms | {name: name for name in sorted(present - set(arms))}, BASELINE if BASELINE in present else None


def write_comparison(folder: Path, path: Path, labels: Mapping[str, str] | None = None) -> str:
    """Write the tables of the records below ``folder`` (``validation`` and ``test``) to ``path``, and return them.

    The picture of :func:`comparison_picture`, if there is one, goes beside it under the same name, ending in .png.

    Raises:
        ValueError: there are no records.
    """
    records = read_sections(folder)
    text = write_table(comparison_tables(records, labels), path)
    comparison_picture(records, path.with_suffix(".png"), labels)
    return text
