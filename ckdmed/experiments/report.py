"""An experiment's tables and picture, from its records alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ckdmed.experiments.records import check_alike, check_one_datalist
from ckdmed.experiments.tables import Group, is_comparable
from ckdmed.files import write_atomic
from ckdmed.reports import RunRecord, arm_table, plot_forest

__all__ = ["Report"]


class Report(ABC):
    """What an experiment says of its records. Each experiment declares how they are grouped and tabulated."""

    #: the score of the short table
    headline: ClassVar[str]
    #: whether the picture's intervals over patients are corrected for the number of arms, after Holm
    holm: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def groups(cls, records: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> list[Group]:
        """The records by what is compared with each other, in the order to print: the test set first.

        Args:
            records: of one experiment.
            labels: arm -> name to print instead of its own, in the order to print.
        """

    @classmethod
    @abstractmethod
    def group_tables(cls, group: Group) -> list[str]:
        """The tables of a group."""

    @classmethod
    def opening(cls, records: Sequence[RunRecord]) -> list[str]:
        """What stands above all tables."""
        return []

    @classmethod
    def closing(cls, records: Sequence[RunRecord]) -> list[str]:
        """What stands below all tables."""
        return []

    @classmethod
    def check_records(cls, records: Sequence[RunRecord]) -> None:
        """Raise ValueError where records are not comparable."""
        check_one_datalist(records)
        check_alike(records, cls.of_a_run)

    @classmethod
    def completed(cls, records: Sequence[RunRecord]) -> list[RunRecord]:
        """The records as they are compared, with what some of them leave unsaid and others say."""
        return list(records)

    @classmethod
    def of_a_run(cls, arm: str) -> frozenset[str]:
        """Settings that each run of an arm has of its own; in all others its runs are equal."""
        return frozenset({"seed", "fold", "teacher_seed", "shared_teacher"})

    @classmethod
    def tables(cls, records: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> str:
        """Markdown: for each group its arms, with their paired differences to the baseline.

        Args:
            records: of one experiment.
            labels: arm -> name to print, in the order to print.

        Raises:
            ValueError: records that are not comparable, such as of several datalists.
        """
        cls.check_records(records)
        parts = cls.opening(records)
        for group in cls.groups(records, labels):
            parts += [f"### {group.title}\n", *cls.group_tables(group)]
        return "\n".join([*parts, *cls.closing(records)])

    @classmethod
    def summary(cls, records: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> str:
        """Markdown: one score of the arms, a table for each group; of the test set if it was evaluated.

        Args, Raises: those of :meth:`tables`.
        """
        cls.check_records(records)
        parts = []
        for group in cls._first_section(records, labels):
            parts.append(f"{group.title}:\n")
            parts.append(arm_table(group.records, (cls.headline,), group.baseline, group.names))
        return "\n".join(parts)

    @classmethod
    def picture(cls, records: Sequence[RunRecord], path: Path, labels: Mapping[str, str] | None = None) -> Path | None:
        """Draw what the arms gain over the baseline, with intervals over patients and over runs; of the test set if
        it was looked at.

        Args:
            records, labels: those of :meth:`tables`.
            path: where the PNG goes.

        Returns:
            ``path``, or None where no group has the baseline and another arm, with the scores of their patients.

        Raises:
            ValueError: those of :meth:`tables`.
        """
        cls.check_records(records)
        groups = cls._first_section(records, labels)
        if not groups:
            return None
        metric = groups[0].patient_metric
        drawn = [group for group in groups if is_comparable(group, metric)]
        if not drawn:
            return None
        names = {arm: label for group in drawn for arm, label in group.names.items()}
        panels = {group.title: group.records for group in drawn}
        return plot_forest(panels, metric, str(drawn[0].baseline), path, names, holm=cls.holm)

    @classmethod
    def write(cls, records: Sequence[RunRecord], path: Path) -> str:
        """Write the tables to ``path`` and return them; the picture, if there is one, goes beside it as .png."""
        text = cls.tables(records)
        write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        cls.picture(records, path.with_suffix(".png"))
        return text

    @classmethod
    def _first_section(cls, records: Sequence[RunRecord], labels: Mapping[str, str] | None) -> list[Group]:
        groups = cls.groups(records, labels)
        return [group for group in groups if group.section == groups[0].section]
