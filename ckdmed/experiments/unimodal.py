"""What do teachers of more or other sequences give to a student of one? Strategies over seeds, on BraTS cases."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ckdmed.data import fingerprint
from ckdmed.data.brats import read_brats_datalist
from ckdmed.experiments.cases import (
    DICE,
    LESIONWISE_DICE,
    add_case_phantom_options,
    case_phantoms,
    case_scores,
    distance_table,
    region_tables,
)
from ckdmed.experiments.engine import Experiment
from ckdmed.experiments.equal_time import epochs_of_equal_time
from ckdmed.experiments.given_settings import parse_settings
from ckdmed.experiments.label_fractions import (
    add_label_fraction_options,
    check_label_fraction_options,
    check_split_seed_chooses,
    without_idle_split_seed,
)
from ckdmed.experiments.plan import Arm, Run
from ckdmed.experiments.tables import (
    Group,
    by_key,
    label_fraction_of,
    named_arms,
    over_patients,
    percent_labelled,
    same_time_tables,
    seconds_line,
    section_title,
)
from ckdmed.experiments.unimodal_arms import (
    ALONE,
    ALONE_LONGER,
    DISTILLED,
    STRATEGIES,
    UNIMODAL_BUNDLE,
    Strategy,
    check_teacher_seeds,
    strategy,
    unimodal_arm,
    unimodal_name,
    unimodal_runs,
    unimodal_settings,
)
from ckdmed.methods import usual_setting
from ckdmed.reports import RunRecord, arm_table

__all__ = ["EXPERIMENT", "UnimodalComparison"]

# what frozen teachers depend on
_OF_TEACHERS = (
    "teacher_kind",
    "teacher_options",
    "teacher_base",
    "vit_img_size",
    "vit_hidden",
    "vit_layers",
    "vit_heads",
    "vit_pretrained",
    "fuse",
    "resolutions",
    "map_weights",
    "teacher_epochs",
    "teacher_recipe",
    "recipe",
    "teacher_learning_rate",
    "teacher_weight_decay",
    "weight_decay",
    "batch_size",
    "image_size",
    "roi_size",
    "spatial_dims",
    "neighbours",
    "slices_per_epoch",
    "patches_per_volume",
    "tumour_share",
    "teacher_tumour_share",
    "scaling",
    "clahe",
    "augmentation",
    "modalities",
    "regions",
    "amp",
    "val_interval",
    "split_seed",
    "label_fraction",
    "seed",
)


@dataclass
class UnimodalComparison(Experiment):
    """Students of one choice of modalities, each strategy of :mod:`~ckdmed.experiments.unimodal_arms` for each.

    Frozen teachers lie in ``teachers/``: the first run that needs one trains it, the others find it.

    Args:
        teacher_seed: that of the frozen teachers of all runs; by default each seed has its own. Then the differences
            between seeds are the students' alone.
    """

    teacher_seed: int | None = None

    name: ClassVar[str] = "unimodal"
    data: ClassVar[str] = "BraTS cases with a datalist.json"
    datalist_command: ClassVar[str] = "brats-datalist"
    bundle: ClassVar[str] = UNIMODAL_BUNDLE
    made_settings: ClassVar[tuple[str, ...]] = (
        *Experiment.made_settings,
        "label_fraction",
        "method",
        "student_modalities",
        "teacher_seed",
        "teachers_dir",
    )
    seconds_note: ClassVar[str] = "seconds are those of training and validation, without those of frozen teachers"
    patient_score: ClassVar[str] = DICE
    headline: ClassVar[str] = DICE
    # students have many steps for a network of this size on purpose: after a quarter of them they just begin to predict
    # anything, and a comparison tells which of them began first
    compact: ClassVar[Mapping[str, Any]] = {"val_interval": 3}
    tiny: ClassVar[Mapping[str, Any]] = {
        "image_size": 32,
        "student_base": 2,
        "teacher_base": 2,
        "vit_img_size": 32,
        "vit_hidden": 16,
        "vit_layers": 1,
        "vit_heads": 2,
        "batch_size": 8,
        "tumour_share": 0.75,
        "slices_per_epoch": 16,
        "epochs": 2,
        "teacher_epochs": 1,
        "val_interval": 1,
        "learning_rate": 0.01,
        "teacher_learning_rate": 0.004,
        "amp": False,
        "augmentation": "flips",
    }

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--students",
            nargs="+",
            default=["t1n", "t1c"],
            metavar="MODALITY",
            help="sequences of each student, such as t1c, or t1n+t1c for two sequences (default: t1n t1c)",
        )
        parser.add_argument(
            "--strategies",
            nargs="+",
            default=["alone", "distilled"],
            help=f"strategies to run, of {', '.join(STRATEGIES)} (default: alone distilled)",
        )
        parser.add_argument(
            "--variant",
            nargs="+",
            action="append",
            default=[],
            metavar=("NAME", "KEY=VALUE"),
            help="an extra strategy: 'distilled' with other settings, such as --variant one "
            '\'teachers=[["t1n","t1c","t2w","t2f"]]\'; repeatable',
        )
        add_label_fraction_options(parser, (0.1,))
        parser.add_argument(
            "--teacher_seed",
            type=int,
            help="seed of the frozen teachers, shared by all seeds (default: the run's own seed)",
        )
        add_case_phantom_options(parser, 72, (48, 48, 24))

    @classmethod
    def plan(cls, args: argparse.Namespace) -> list[Run]:
        check_label_fraction_options(args)
        if unknown := [name for name in args.strategies if name not in STRATEGIES]:
            raise ValueError(f"there are no strategies {unknown}; there are {', '.join(STRATEGIES)}.")
        chosen: list[Strategy] = [STRATEGIES[name] for name in args.strategies]
        for name, *words in args.variant:
            settings = parse_settings(words)
            cls.check_variant(name, settings, args.bundles)
            chosen.append(strategy(name, settings))
        students = [student.split("+") for student in args.students]
        return unimodal_runs(chosen, students, args.label_fractions, args.seeds)

    @classmethod
    def option_settings(cls, args: argparse.Namespace) -> dict[str, Any]:
        return {"split_seed": args.split_seed}

    @classmethod
    def own_fields(cls, args: argparse.Namespace) -> dict[str, Any]:
        return {"teacher_seed": args.teacher_seed}

    @classmethod
    def phantoms(cls, folder: Path, args: argparse.Namespace) -> Path:
        """50/15/35, so that few cases still judge. Each patient has one case, each case enhancing tumour, which t1c
        alone shows by its brightness."""
        fractions = (0.5, 0.15, 0.35)
        made: dict[str, Any] = {"time_points": (1, 1), "without_enhancement": 0.0}
        return case_phantoms(folder, args.phantom_cases, args.phantom_shape, 0, fractions, **made)

    def read_datalist(self, path: Path) -> Mapping[str, Any]:
        return read_brats_datalist(path)

    def possible(self, runs: Sequence[Run]) -> list[Run]:
        check_split_seed_chooses(self.settings, runs, self.split["datalist_seed"])
        return super().possible(runs)

    def arm_of(self, record: RunRecord) -> Arm | None:
        entry = STRATEGIES.get(record.arm.removeprefix(f"{_student(record)}-"))
        return None if entry is None else unimodal_arm(entry, record.settings["student_modalities"])

    def run_settings(self, run: Run, base: Mapping[str, Any]) -> dict[str, Any]:
        made = without_idle_split_seed(unimodal_settings(run, base), self.split["datalist_seed"])
        # a student alone has no teachers
        if run.arm.unlabelled:
            if self.teacher_seed not in (None, run.seed):
                made["teacher_seed"] = self.teacher_seed
            made["teachers_dir"] = str(self._teachers(made))
        if _lasts_longer(run.arm.name):
            made["epochs"] = self._longer(run, made["epochs"])
        return made

    def shared_work(self, run: Run) -> str | None:
        return str(self.settings_of(run)["teachers_dir"]) if run.arm.unlabelled else None

    def _longer(self, run: Run, epochs: int) -> int:
        student, fraction = run.arm.name.removesuffix(f"-{ALONE_LONGER}"), run.split["label_fraction"]
        alone, distilled = (
            self.folder(unimodal_name(f"{student}-{name}", fraction, run.seed)) for name in (ALONE, DISTILLED)
        )
        return epochs_of_equal_time(self.folder(run), alone, distilled, epochs)

    @classmethod
    def check_records(cls, records: Sequence[RunRecord]) -> None:
        super().check_records(records)
        taught = [record for record in records if _has_frozen_teachers(record)]
        for own in by_key(taught, lambda record: (record.arm, label_fraction_of(record))).values():
            check_teacher_seeds((r.name, r.seed, int(r.settings.get("teacher_seed", r.seed))) for r in own)

    @classmethod
    def of_a_run(cls, arm: str) -> frozenset[str]:
        # as many epochs as take the time of the same seed's distilled student
        return super().of_a_run(arm) | ({"epochs"} if _lasts_longer(arm) else set())

    def _teachers(self, settings: Mapping[str, Any]) -> Path:
        """Where the teachers of such settings lie, whichever student they teach."""
        fraction, seed = settings["label_fraction"], settings.get("teacher_seed", settings["seed"])
        chosen = {**{key: settings[key] for key in _OF_TEACHERS if key in settings}, "seed": seed}
        return self.output_dir / "teachers" / f"labelled={fraction:g}-seed={seed}-{fingerprint(chosen)[:12]}"

    def scores(self, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
        return case_scores(summary)

    @classmethod
    def groups(cls, records: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> list[Group]:
        known = {**{name: entry.label for name, entry in STRATEGIES.items()}, **(labels or {})}
        groups = []
        for own in by_key(
            records, lambda r: (r.split["section"] != "test", -label_fraction_of(r), _student(r))
        ).values():
            student = _student(own[0])
            fraction = f"{percent_labelled(own[0])} of training patients labelled"
            title = f"{section_title(own[0])}, student of {student}, {fraction}"
            # within a group the student is the same, and the strategy alone tells arms from each other
            own = [replace(record, arm=record.arm.removeprefix(f"{student}-")) for record in own]
            names = named_arms(own, known)
            baseline = ALONE if ALONE in names else None
            groups.append(Group(title, own[0].split["section"], own, names, baseline, cls.patient_score))
        return groups

    @classmethod
    def group_tables(cls, group: Group) -> list[str]:
        own, names, baseline = group.records, group.names, group.baseline
        parts = [
            arm_table(own, (DICE, LESIONWISE_DICE), baseline, names),
            *over_patients(group, DICE),
            distance_table(own, baseline, names),
            *region_tables(own, names),
        ]
        if {DISTILLED, ALONE_LONGER} <= set(names):
            shown = {name: label for name, label in names.items() if name != ALONE}
            parts += same_time_tables(group, (DICE, LESIONWISE_DICE), DICE, ALONE_LONGER, shown)
        return [*parts, seconds_line(own, names)]

    @classmethod
    def closing(cls, records: Sequence[RunRecord]) -> list[str]:
        return [
            "Scores are means over patients of whole cases; `Dice` and the distances are means of the regions. "
            "Seconds are without the training of frozen teachers, which all students of a seed share.\n"
        ]


def _lasts_longer(arm: str) -> bool:
    return arm.endswith(f"-{ALONE_LONGER}")


def _has_frozen_teachers(record: RunRecord) -> bool:
    method = record.settings.get("method")
    mode = record.settings.get("teacher_mode", usual_setting(method, "unimodal", "teacher_mode", "frozen"))
    # those that learn along have the seed of their student
    return method != "supervised" and mode != "online"


def _student(record: RunRecord) -> str:
    return "+".join(record.settings["student_modalities"])


EXPERIMENT = UnimodalComparison
