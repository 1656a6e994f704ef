"""The reports' Table I and its extension: teachers, their students, and the student alone."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ckdmed.bundle_files import bundle_folder
from ckdmed.counted import counted
from ckdmed.experiments.classifier_scores import SHORT, check_one_class_a_patient, scores_of_sections
from ckdmed.experiments.engine import PLACES
from ckdmed.experiments.equal_time import epochs_of_equal_time
from ckdmed.experiments.given_settings import training_config
from ckdmed.experiments.label_fractions import labelled_share, on_labelled_images
from ckdmed.experiments.one_teacher import check_one_teacher
from ckdmed.experiments.plan import Arm, Run, check_different, in_order
from ckdmed.experiments.records import check_alike, check_one_datalist
from ckdmed.experiments.slice_experiment import SliceExperiment
from ckdmed.experiments.slices import add_slice_phantom_options
from ckdmed.experiments.tables import Group, by_key, over_patients
from ckdmed.experiments.teacher_settings import settings_of_teacher
from ckdmed.methods import with_options_of
from ckdmed.reports import RunRecord, arm_table

__all__ = ["ARMS", "EXPERIMENT", "Table1"]

_METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
_TEST = ("test_accuracy", "test_balanced_accuracy", "test_macro_auc", "test_ece", "test_patient_accuracy")
_SPLITS = {
    "group": "Folds by person (all slices of a person on one side)",
    "official": "Official folds (by patient code as published)",
    "slices": "Folds by single slices, which put slices of one person on both sides",
}
_ALONE, _LONGER, _DISTILLED = "student_alone", "student_alone_longer", "student_efficientnet_lite"
# a process trains many times on the same slices: they are read and prepared once
_DATASETS = ("train#dataset#_target_", "validate#dataset#_target_")


def _student(name: str, label: str, teacher: str | None, needs: Sequence[str] = (), **settings: Any) -> Arm:
    kind = (teacher or "teacher_vgg_vit").removeprefix("teacher_")
    return Arm(name, label, {"teacher_kind": kind, **settings}, bundle="cls_kd", teacher=teacher, needs=tuple(needs))


def _teacher(kind: str, label: str) -> Arm:
    return Arm(f"teacher_{kind}", label, {"teacher_kind": kind}, bundle="cls_teacher")


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        _teacher("vgg_vit", "teacher VGG19 + ViT (hybrid)"),
        _teacher("vgg_vgg", "teacher VGG19 + VGG19"),
        _teacher("vit_vit", "teacher ViT + ViT"),
        _teacher("msgff", "teacher MSGFF: VGG19 + ViT, scales fused in the teacher"),
        _teacher("efficientnet_lite", "teacher EfficientNet-Lite0"),
        _teacher("efficientnet_lite_vit", "teacher EfficientNet-Lite0 + ViT"),
        _student("student_vgg_vit", "student of VGG19 + ViT", "teacher_vgg_vit", beta=0.0),
        _student("student_vgg_vgg", "student of VGG19 + VGG19", "teacher_vgg_vgg", beta=0.0),
        _student("student_vit_vit", "student of ViT + ViT", "teacher_vit_vit", beta=0.0),
        _student("student_msgff", "student of VGG19 + ViT with MSGFF", "teacher_vgg_vit"),
        _student("student_of_msgff_teacher", "student of the MSGFF teacher, with MSGFF", "teacher_msgff"),
        _student(_DISTILLED, "student of EfficientNet-Lite0", "teacher_efficientnet_lite", beta=0.0),
        _student(
            "student_efficientnet_lite_msgff", "student of EfficientNet-Lite0 with MSGFF", "teacher_efficientnet_lite"
        ),
        _student(
            "student_efficientnet_lite_vit",
            "student of EfficientNet-Lite0 + ViT",
            "teacher_efficientnet_lite_vit",
            beta=0.0,
        ),
        _student(_ALONE, "student alone", None, method="supervised"),
        _student(_LONGER, "student alone, same time", None, needs=(_ALONE, _DISTILLED), method="supervised"),
    )
}


@dataclass
class Table1(SliceExperiment):
    """The arms of :data:`ARMS` over folds and seeds. A fold's teachers are trained once, with the first seed.

    The reports lack the student alone, for as many epochs and for the time of the distilled one, and the teacher whose
    ImageNet weights know more than the labels tell.

    A run's numbers are those of the weights that validated best, on the slices as they are (no augmentation).
    """

    name: ClassVar[str] = "table1"
    bundle: ClassVar[str] = "cls_kd"
    made_settings: ClassVar[tuple[str, ...]] = (
        *SliceExperiment.made_settings,
        "fold",
        "fold_source",
        "method",
        "teacher_checkpoint",
        "teacher_kind",
    )
    unrecorded: ClassVar[tuple[str, ...]] = (*PLACES, *_DATASETS)
    headline: ClassVar[str] = "val_accuracy"
    compact: ClassVar[Mapping[str, Any]] = {"cache_teacher": True}
    tiny: ClassVar[Mapping[str, Any]] = {
        "image_size": 32,
        "vgg_width": 0.03,
        "vit_patch": 8,
        "vit_hidden": 8,
        "vit_layers": 1,
        "vit_heads": 2,
        "epochs": 1,
        "teacher_epochs": 1,
        "learning_rate": 0.002,
        "teacher_learning_rate": 0.001,
        "batch_size": 16,
        "cache_teacher": True,
    }

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--folds",
            choices=tuple(_SPLITS),
            default="group",
            help="how the folds are made: patient-level, as published, or slice-level, which leaks patients and is for "
            "comparison only (default: group)",
        )
        parser.add_argument(
            "--fold", type=int, nargs="+", default=[0], metavar="N", help="which of the five folds (default: 0)"
        )
        parser.add_argument(
            "--arms", nargs="+", metavar="ARM", help="run only these arms, with their teachers (default: all)"
        )
        add_slice_phantom_options(parser)

    @classmethod
    def plan(cls, args: argparse.Namespace) -> list[Run]:
        """The runs in the order in which they are trained: a fold's teachers before its students."""
        names = args.arms or list(ARMS)
        if unknown := [name for name in names if name not in ARMS]:
            raise ValueError(f"there are no arms {unknown}; there are {', '.join(ARMS)}.")
        check_different(seeds=args.seeds, folds=args.fold, arms=names)
        needed = {*names, *(ARMS[name].teacher for name in names)}
        teachers = [arm for arm in ARMS.values() if arm.bundle == "cls_teacher" and arm.name in needed]
        students = [arm for arm in ARMS.values() if arm.bundle != "cls_teacher" and arm.name in names]
        students = in_order(students) if students else []
        first = args.seeds[0]

        def run(arm: Arm, fold: int, seed: int) -> Run:
            place = f"{args.folds}{fold}"
            teacher = f"{arm.teacher}-{place}-seed{first}" if arm.teacher else None
            return Run(arm, seed, f"{arm.name}-{place}-seed{seed}", {"name": args.folds, "fold": fold}, teacher)

        runs = []
        for fold in args.fold:
            runs += [run(arm, fold, first) for arm in teachers]
            runs += [run(arm, fold, seed) for seed in args.seeds for arm in students]
        return runs

    def run_settings(self, run: Run, base: Mapping[str, Any]) -> dict[str, Any]:
        of_fold = {"fold": run.split["fold"], "fold_source": run.split["name"], "seed": run.seed}
        made = {**base, **dict.fromkeys(_DATASETS, "ckdmed.data.shared_cache.SharedCacheDataset")}
        if run.arm.bundle == "cls_teacher":
            made = settings_of_teacher(run.arm.bundle, made, self.bundles)
        else:
            # the folds' teachers are trained apart, so that all students of a kind have the same one
            made = {key: value for key, value in made.items() if key not in ("teacher_epochs", "teacher_learning_rate")}
            made = with_options_of(run.arm.settings.get("method", "ckd"), "classification", made)
        made |= {**run.arm.settings, **of_fold}
        if made.get("method") == "supervised":
            config = training_config(run.arm.bundle, self.bundles)
            made = on_labelled_images(made, config, labelled_share(self.datalist, "class"))
        if run.arm.name == _LONGER:
            alone, distilled = (self.folder(run.name.replace(_LONGER, name, 1)) for name in (_ALONE, _DISTILLED))
            made["epochs"] = epochs_of_equal_time(self.folder(run), alone, distilled, made["epochs"])
        return made

    def possible(self, runs: Sequence[Run]) -> list[Run]:
        check_one_class_a_patient(self.datalist)
        return super().possible(runs)

    def arm_of(self, record: RunRecord) -> Arm | None:
        return ARMS.get(record.arm)

    def measure(self, run: Run, section: str) -> tuple[dict[str, Any], dict[str, dict[str, float | None]]]:
        bundle, weights = bundle_folder(run.arm.bundle, self.bundles), self.folder(run) / "models" / "model.pt"
        return scores_of_sections(bundle, self.settings_of(run), section, weights)

    @classmethod
    def check_records(cls, records: Sequence[RunRecord]) -> None:
        sizes = sorted({_sizes(record) for record in records})
        if len(sizes) > 1:
            raise ValueError(f"the records are of several sizes ({', '.join(sizes)}); make a table of one at a time.")
        check_alike(records, cls.of_a_run)
        # ways of making folds stand in tables of their own, and may need another datalist
        for own in by_key(records, lambda record: str(record.split["name"])).values():
            check_one_datalist(own)
        for own in by_key(records, lambda record: (str(record.split["name"]), int(record.split["fold"]))).values():
            check_one_teacher([(record.arm, record.seed) for record in own])

    @classmethod
    def of_a_run(cls, arm: str) -> frozenset[str]:
        # as many epochs as take the time of the same seed's distilled student
        return super().of_a_run(arm) | ({"epochs"} if arm == _LONGER else set())

    @classmethod
    def opening(cls, records: Sequence[RunRecord]) -> list[str]:
        return [
            f"Sizes: {_sizes(records[0])}. {records[0].machine}. Mean and standard deviation over runs (seeds and "
            "folds); a run's numbers are those of the weights that validated best. Losses are cross-entropies without "
            "distillation terms, and training slices are not augmented. Weights were chosen on the validation set, so "
            "rely on the test columns.\n"
        ]

    @classmethod
    def groups(cls, records: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> list[Group]:
        known = {**{arm.name: arm.label for arm in ARMS.values()}, **(labels or {})}
        groups = []
        whole = _of_all_sections(records)
        section = "test" if any("test_accuracy" in record.metrics for record in whole) else "validation"
        for split in _SPLITS:
            own = [record for record in whole if record.split["name"] == split]
            if not own:
                continue
            folds = ", ".join(str(fold) for fold in sorted({record.split["fold"] for record in own}))
            present = {record.arm for record in own}
            names = {arm: label for arm, label in known.items() if arm in present}
            baseline = _ALONE if _ALONE in present else None
            metric = f"{SHORT[section]}_patient_accuracy"
            groups.append(Group(f"{_SPLITS[split]}: fold {folds}", section, own, names, baseline, metric))
        return groups

    @classmethod
    def group_tables(cls, group: Group) -> list[str]:
        there = {metric for record in group.records for metric in record.metrics}
        parts = [
            arm_table(group.records, [metric for metric in metrics if metric in there], arms=group.names)
            for metrics in (_METRICS, _TEST)
            if metrics == _METRICS or "test_accuracy" in there
        ]
        students = {arm: label for arm, label in group.names.items() if not arm.startswith("teacher")}
        if group.baseline is not None and len(students) > 1:
            parts.append("Against the student alone, paired by seed and fold:\n")
            shown = [metric for metric in ("val_accuracy", "test_accuracy") if metric in there]
            parts.append(arm_table(group.records, shown, baseline=group.baseline, arms=students))
            parts += over_patients(group, group.patient_metric, names=students)
        return parts

    @classmethod
    def closing(cls, records: Sequence[RunRecord]) -> list[str]:
        runs = _of_all_sections(records)
        return [
            f"{counted(len(runs), 'run')}, {sum(record.seconds or 0 for record in runs) / 60:.0f} minutes in all.\n"
        ]


def _sizes(record: RunRecord) -> str:
    return str(record.settings.get("profile"))


def _of_all_sections(records: Sequence[RunRecord]) -> list[RunRecord]:
    """One record of each run, with its scores of all sections; the first ones of this table hold them all."""
    runs: dict[str, RunRecord] = {}
    for record in records:
        first = runs.get(record.name)
        split = {key: value for key, value in record.split.items() if key != "section"}
        runs[record.name] = replace(
            record,
            split=split,
            metrics={**(first.metrics if first else {}), **record.metrics},
            patients={**(first.patients if first else {}), **record.patients},
        )
    everything = dict.fromkeys(metric for record in runs.values() for metric in record.metrics)
    return [replace(r, metrics={metric: r.metrics.get(metric) for metric in everything}) for r in runs.values()]


EXPERIMENT = Table1
