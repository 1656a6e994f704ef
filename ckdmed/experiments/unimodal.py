"""Students of one modality with and without teachers: each run is a run of the bundle, each result a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ckdmed.data import fingerprint
from ckdmed.data.brats import read_brats_datalist
from ckdmed.experiments.case_records import (
    DICE,
    LESIONWISE_DICE,
    REGION_DICE,
    case_phantoms,
    case_scores,
    distance_table,
)
from ckdmed.experiments.recorded_runs import RecordedRuns, check_one_datalist, read_sections, seconds_line, write_table
from ckdmed.experiments.sizes import sizes_of
from ckdmed.experiments.unimodal_arms import ALONE, STRATEGIES, UNIMODAL_BUNDLE, UnimodalRun
from ckdmed.reports import RunRecord, arm_table

__all__ = ["UnimodalComparison", "unimodal_phantoms", "unimodal_sizes", "unimodal_tables", "write_unimodal_tables"]

# 960 steps of a student, 400 of a teacher, two to three minutes and one on a free core; five levels, real batches. The
# steps are many for a network of this size on purpose: after a quarter of them students just begin to predict anything,
# and a comparison tells which of them began first.
_COMPACT: dict[str, Any] = {
    "image_size": 48,
    "student_base": 8,
    "teacher_base": 8,
    "vit_img_size": 48,
    "vit_hidden": 64,
    "vit_layers": 2,
    "vit_heads": 4,
    "batch_size": 8,
    "tumour_share": 0.75,
    "slices_per_epoch": 640,
    "epochs": 12,
    "teacher_epochs": 5,
    "val_interval": 3,
    "learning_rate": 0.01,
    "teacher_learning_rate": 0.004,
    "amp": False,
    "augmentation": "flips",
}

# for tests
_TINY: dict[str, Any] = {
    **_COMPACT,
    "image_size": 32,
    "student_base": 2,
    "teacher_base": 2,
    "vit_img_size": 32,
    "vit_hidden": 16,
    "vit_layers": 1,
    "vit_heads": 2,
    "slices_per_epoch": 16,
    "epochs": 2,
    "teacher_epochs": 1,
    "val_interval": 1,
}

# what frozen teachers depend on
_OF_TEACHERS = (
    "teacher_kind",
    "teacher_options",
    "teacher_base",
    "vit_img_size",
    "vit_hidden",
    "vit_layers",
    "vit_heads",
    "teacher_epochs",
    "teacher_learning_rate",
    "weight_decay",
    "batch_size",
    "image_size",
    "roi_size",
    "spatial_dims",
    "neighbours",
    "slices_per_epoch",
    "tumour_share",
    "augmentation",
    "modalities",
    "amp",
    "val_interval",
    "split_seed",
    "label_fraction",
    "seed",
)


def unimodal_sizes(preset: str) -> dict[str, Any]:
    """The settings of a preset: "compact", "tiny", or "full" for the bundle's own with a data folder.

    Raises:
        ValueError: an unknown preset.
    """
    return sizes_of(preset, _COMPACT, _TINY, UNIMODAL_BUNDLE)


def unimodal_phantoms(folder: Path, cases: int, shape: Sequence[int], seed: int = 0) -> Path:
    """A folder of gliomas with its datalist, made once; 50/15/35, so that few cases still judge.

    Each patient has one case, and every case has enhancing tumour, which t1c alone shows by its brightness.
    """
    return case_phantoms(folder, cases, shape, seed, (0.5, 0.15, 0.35), time_points=(1, 1), without_enhancement=0.0)


@dataclass
class UnimodalComparison(RecordedRuns[UnimodalRun]):
    """Runs what is missing of a comparison; see :class:`~ckdmed.experiments.recorded_runs.RecordedRuns`.

    Frozen teachers lie in ``teachers/``: the first run that needs one trains it, the others find it.

    Args:
        teacher_seed: that of the frozen teachers of all runs; by default each seed has its own. Then the differences
            between seeds are the students' alone.
    """

    teacher_seed: int | None = None

    datalist_command: ClassVar[str] = "brats-datalist"

    def read_datalist(self, path: Path) -> Mapping[str, Any]:
        return read_brats_datalist(path)

    def split_of(self, run: UnimodalRun) -> dict[str, Any]:
        return {"label_fraction": run.regime}

    @property
    def seconds_note(self) -> str:
        return "seconds are those of training and validation, without those of frozen teachers"

    def run_settings(self, run: UnimodalRun, base: Mapping[str, Any]) -> dict[str, Any]:
        made = run.settings(base)
        if run.arm.strategy.teachers:
            if self.teacher_seed not in (None, run.seed):
                made["teacher_seed"] = self.teacher_seed
            made["teachers_dir"] = str(self._teachers(made))
        return made

    def _teachers(self, settings: Mapping[str, Any]) -> Path:
        """Where the teachers of such settings lie, whichever student listens to them."""
        regime, seed = settings["label_fraction"], settings.get("teacher_seed", settings["seed"])
        chosen = {**{key: settings[key] for key in _OF_TEACHERS if key in settings}, "seed": seed}
        return self.output_dir / "teachers" / f"labelled={regime:g}-seed={seed}-{fingerprint(chosen)[:12]}"

    def metrics(self, run: UnimodalRun, summary: Mapping[str, Any]) -> dict[str, Any]:
        return case_scores(summary)


def unimodal_tables(records: Sequence[RunRecord]) -> str:
    """Markdown: for each section, share of labels and student, the strategies and their difference to it alone.

    Args:
        records: of :class:`UnimodalComparison`.

    Raises:
        ValueError: records of several datalists, which are not comparable.
    """
    check_one_datalist(records)
    parts = []
    keys = sorted({(r.split["section"] != "test", -float(r.split["label_fraction"]), _student(r)) for r in records})
    for later, regime, student in keys:
        own = [
            record
            for record in records
            if (record.split["section"] != "test", -float(record.split["label_fraction"]), _student(record))
            == (later, regime, student)
        ]
        section = own[0].split["section"]
        names = _labels(own, student)
        baseline = f"{student}-{ALONE}" if f"{student}-{ALONE}" in names else None
        parts.append(
            f"### {section.capitalize()} section, student of {student}, {-regime:.0%} of training patients labelled\n"
        )
        parts.append(arm_table(own, (DICE, *REGION_DICE), baseline, names))
        parts.append(arm_table(own, (LESIONWISE_DICE,), None, names))
        parts.append(distance_table(own, baseline, names))
        parts.append(seconds_line(own, names))
    parts.append(
        "Scores are means over patients of whole cases; `Dice` and the distances are means of the three regions. "
        "Seconds are without the training of frozen teachers, which all students of a seed share.\n"
    )
    return "\n".join(parts)


def _student(record: RunRecord) -> str:
    return "+".join(record.settings["student_modalities"])


def _labels(records: Sequence[RunRecord], student: str) -> dict[str, str]:
    """Arm -> name to print, the student alone first."""
    present = {record.arm for record in records}
    known = {f"{student}-{entry.name}": entry.label for entry in STRATEGIES.values()}
    ordered = {arm: label for arm, label in known.items() if arm in present}
    return ordered | {arm: arm.partition("-")[2] for arm in sorted(present - set(known))}


def write_unimodal_tables(folder: Path, path: Path) -> str:
    """The tables of the records below ``folder`` (``validation`` and ``test``), written to ``path``.

    Raises:
        ValueError: there are no records.
    """
    return write_table(unimodal_tables(read_sections(folder)), path)
