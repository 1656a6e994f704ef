"""Does distillation help a segmentation student? Arms over seeds and label fractions, on Figshare slices."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from ckdmed.bundle.workflow import bundle_workflow
from ckdmed.bundle_files import bundle_folder
from ckdmed.experiments.compare_arms import (
    ARMS,
    BASELINE,
    DISTILLED,
    TEACHER,
    check_teachers,
    compare_name,
    compare_runs,
    compare_settings,
    variant,
)
from ckdmed.experiments.equal_time import epochs_of_equal_time
from ckdmed.experiments.given_settings import parse_settings, training_config
from ckdmed.experiments.label_fractions import (
    add_label_fraction_options,
    check_label_fraction_options,
    check_split_seed_chooses,
    labelled_share,
    without_idle_split_seed,
)
from ckdmed.experiments.plan import Arm, Run
from ckdmed.experiments.slice_experiment import SliceExperiment
from ckdmed.experiments.slices import HD95, PATIENTS, SLICES, add_slice_phantom_options, slice_scores
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
from ckdmed.files import save_weights
from ckdmed.reports import RunRecord, arm_table

__all__ = ["EXPERIMENT", "Comparison"]

# compared with the student trained alone for the same time: the distilled one, and the arm that takes no more time
_PSEUDO, _LONGER = "hard_pseudo", "alone_longer"


@dataclass
class Comparison(SliceExperiment):
    """The arms of :mod:`~ckdmed.experiments.compare_arms` and variants of the distilled one."""

    name: ClassVar[str] = "compare"
    bundle: ClassVar[str] = "seg_kd"
    made_settings: ClassVar[tuple[str, ...]] = (
        *SliceExperiment.made_settings,
        "label_fraction",
        "method",
        "teacher_checkpoint",
    )
    seconds_note: ClassVar[str] = "seconds are those of training and validation, without the teacher's"
    patient_score: ClassVar[str] = PATIENTS
    headline: ClassVar[str] = SLICES
    compact: ClassVar[Mapping[str, Any]] = {"amp": True}
    tiny: ClassVar[Mapping[str, Any]] = {
        "image_size": 32,
        "student_base": 2,
        "teacher_base": 4,
        "vit_img_size": 32,
        "vit_hidden": 16,
        "vit_layers": 1,
        "vit_heads": 2,
        "batch_size": 8,
        "epochs": 2,
        "teacher_epochs": 1,
        "learning_rate": 0.004,
        "teacher_learning_rate": 0.004,
        "amp": False,
        "augmentation": "flips",
    }

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--arms", nargs="+", help="run only these arms (default: all: teacher, alone, alone_longer, report_kd ...)"
        )
        parser.add_argument(
            "--variant",
            nargs="+",
            action="append",
            default=[],
            metavar=("NAME", "KEY=VALUE"),
            help="an extra arm: the distilled student with other settings, such as --variant warm temperature=4 "
            "w_att=0; repeatable",
        )
        parser.add_argument(
            "--one_teacher",
            action="store_true",
            help="train one teacher, with the first seed, for the students of all seeds; intervals over seeds then "
            "cover only the students' training (default: one teacher per seed). Arms without a teacher do not change",
        )
        parser.add_argument(
            "--teacher_label_fraction",
            type=float,
            metavar="FRACTION",
            help="label fraction of the teachers, such as 1 for a teacher from a hospital with many labels and "
            "students from one with few (default: that of their students)",
        )
        add_label_fraction_options(parser, (1.0, 0.25, 0.1))
        add_slice_phantom_options(parser)

    @classmethod
    def plan(cls, args: argparse.Namespace) -> list[Run]:
        check_label_fraction_options(args, args.teacher_label_fraction)
        if unknown := [name for name in args.arms or [] if name not in ARMS]:
            raise ValueError(f"there are no arms {unknown}; there are {', '.join(ARMS)}.")
        arms = [ARMS[name] for name in args.arms or ARMS]
        for name, *words in args.variant:
            settings = parse_settings(words)
            cls.check_variant(name, settings, args.bundles)
            arms.append(variant(name, settings))
        return compare_runs(arms, args.label_fractions, args.seeds, args.one_teacher, args.teacher_label_fraction)

    @classmethod
    def option_settings(cls, args: argparse.Namespace) -> dict[str, Any]:
        return {"split_seed": args.split_seed}

    def scores(self, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
        return slice_scores(summary)

    def run_settings(self, run: Run, base: Mapping[str, Any]) -> dict[str, Any]:
        config, share = training_config(self.bundle, self.bundles), labelled_share(self.datalist)
        made = compare_settings(run, {**base, "cache": "disk"}, config, share)
        made = without_idle_split_seed(made, self.split["datalist_seed"])
        if run.arm.teacher == "random":
            made["teacher_checkpoint"] = str(self.output_dir / "untrained" / f"seed={run.seed}.pt")
        if run.arm.name == _LONGER:
            made["epochs"] = self._longer(run, made["epochs"])
        return made

    def possible(self, runs: Sequence[Run]) -> list[Run]:
        check_split_seed_chooses(self.settings, runs, self.split["datalist_seed"])
        planned = [(run.arm.name, run.split["label_fraction"], run.seed, _shared_teacher(run)) for run in runs]
        check_teachers([*planned, *_students(self.recorded())])
        return super().possible(runs)

    def arm_of(self, record: RunRecord) -> Arm | None:
        return ARMS.get(record.arm)

    def _recorded_settings(self, run: Run) -> dict[str, Any]:
        return {**super()._recorded_settings(run), "shared_teacher": _shared_teacher(run)}

    def _longer(self, run: Run, epochs: int) -> int:
        alone, distilled = (
            self.folder(compare_name(name, run.split["label_fraction"], run.seed)) for name in (BASELINE, DISTILLED)
        )
        return epochs_of_equal_time(self.folder(run), alone, distilled, epochs)

    def prepare(self, run: Run, settings: Mapping[str, Any]) -> None:
        if run.arm.teacher == "random":
            self._write_untrained(run, Path(settings["teacher_checkpoint"]))

    def _write_untrained(self, run: Run, path: Path) -> None:
        if path.is_file():
            return
        workflow = bundle_workflow(bundle_folder(self.bundle, self.bundles), self.settings_of(run))
        workflow.parser.parse(reset=True)
        with torch.random.fork_rng():
            torch.manual_seed(run.seed)
            save_weights(path, workflow.parser.get_parsed_content("teacher_def").state_dict())

    @classmethod
    def check_records(cls, records: Sequence[RunRecord]) -> None:
        super().check_records(records)
        check_teachers(_students(records))

    @classmethod
    def of_a_run(cls, arm: str) -> frozenset[str]:
        # as many epochs as take the time of the same seed's distilled student
        return super().of_a_run(arm) | ({"epochs"} if arm == _LONGER else set())

    @classmethod
    def groups(cls, records: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> list[Group]:
        of_all = {**{arm.name: arm.label for arm in ARMS.values()}, **(labels or {})}
        groups = []
        for own in by_key(records, lambda r: (r.split["section"] != "test", -label_fraction_of(r))).values():
            if _teach_elsewhere(own, records):
                continue
            known = of_all
            title = f"{section_title(own[0])}, {percent_labelled(own[0])} of the training patients labelled"
            if teachers := _teachers_elsewhere(own, records):
                # an arm of its own: a teacher of this label fraction may be there as well
                arm = f"{TEACHER}-{label_fraction_of(teachers[0]):g}"
                known = {arm: f"{known[TEACHER]}, {percent_labelled(teachers[0])} labelled", **known}
                # differences are between runs of one split
                fraction = {"label_fraction": label_fraction_of(own[0])}
                own = [*own, *(replace(one, arm=arm, split={**one.split, **fraction}) for one in teachers)]
            names = named_arms(own, known)
            baseline = BASELINE if BASELINE in names else None
            groups.append(Group(title, own[0].split["section"], own, names, baseline, cls.patient_score))
        return groups

    @classmethod
    def group_tables(cls, group: Group) -> list[str]:
        own, names = group.records, group.names
        parts = [
            arm_table(own, (SLICES, PATIENTS), group.baseline, names),
            arm_table(own, (HD95,), group.baseline, names, decimals=2, smaller_is_better=(HD95,)),
            *over_patients(group, PATIENTS),
        ]
        if {DISTILLED, _LONGER} <= set(names):
            shown = {name: label for name, label in names.items() if name in (DISTILLED, _PSEUDO, _LONGER)}
            parts += same_time_tables(group, (SLICES, PATIENTS), PATIENTS, _LONGER, shown)
        return [*parts, seconds_line(own, names)]


def _teachers_elsewhere(own: Sequence[RunRecord], records: Sequence[RunRecord]) -> list[RunRecord]:
    """The teachers with another label fraction that taught the runs of one."""
    names, taught_by = {record.name for record in own}, {_shared_teacher_of(record) for record in own}
    others = [record for record in records if record.split["section"] == own[0].split["section"]]
    return [record for record in others if record.name in taught_by - names]


def _teach_elsewhere(own: Sequence[RunRecord], records: Sequence[RunRecord]) -> bool:
    """Whether all runs of a label fraction are teachers of students with another one."""
    names = {record.name for record in own}
    others = [r for r in records if r.split["section"] == own[0].split["section"] and r.name not in names]
    return names <= {_shared_teacher_of(record) for record in others}


def _shared_teacher_of(record: RunRecord) -> str | None:
    return record.settings.get("shared_teacher")


def _shared_teacher(run: Run) -> str | None:
    """The teacher's run where it is that of another seed or label fraction."""
    own = compare_name(str(run.arm.teacher), run.split["label_fraction"], run.seed)
    return None if run.teacher == own else run.teacher


def _students(records: Sequence[RunRecord]) -> list[tuple[str, float, int, str | None]]:
    return [(r.arm, label_fraction_of(r), r.seed, _shared_teacher_of(r)) for r in records]


EXPERIMENT = Comparison
