"""Every method and every fusion that fits a task, with the same steps and seeds, against the student alone."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ckdmed.data.splits import check_fold
from ckdmed.experiments.distilling import ALONE, GIVEN, TEACHER, Distilling
from ckdmed.experiments.given_settings import check_bundle_settings, parse_settings, training_config
from ckdmed.experiments.plan import Arm, Run, check_different
from ckdmed.experiments.tasks import TASKS, DistilledTask, task_of
from ckdmed.methods import methods
from ckdmed.reports import RunRecord

__all__ = ["EXPERIMENT", "MethodComparison"]

_FUSE = "fuse_"
#: the fusion of what a hybrid sees at several resolutions
_RESOLUTIONS = "resolutions"
# what both networks of a hybrid for segmentation divide an edge by
_MULTIPLE = 16


@dataclass
class MethodComparison(Distilling):
    """The arms are the registered methods of the task, with the defaults of each, and students of hybrid teachers that
    differ in how their two networks are joined, or in that they see each image at several resolutions.

    The primary result is the difference to the student alone over patients, each the mean of its seeds: bootstrap
    intervals and p-values corrected for the number of arms by Holm's procedure.

    With ``--fold`` all of it is trained anew for each of these folds, whose patients are its test set.
    """

    name: ClassVar[str] = "methods"
    looks_at_test: ClassVar[bool] = True

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--task", choices=tuple(TASKS), default="segmentation", help="task (default: segmentation)")
        parser.add_argument(
            "--arms",
            nargs="+",
            metavar="ARM",
            help="run only these methods, and fusions as fuse_NAME (fuse_resolutions: the images' size and half of "
            "it), beside the student alone (default: all that fit)",
        )
        parser.add_argument(
            "--fusion_method",
            default="kd",
            metavar="METHOD",
            help="method for the students of fusion teachers (default: kd)",
        )
        parser.add_argument(
            "--hybrid",
            metavar="KIND",
            help="network of the fusion teachers (default: "
            + ", ".join(f"{task.hybrid} for {task.name}" for task in TASKS.values())
            + ")",
        )
        parser.add_argument(
            "--fold",
            type=int,
            nargs="+",
            metavar="N",
            help="cross-validation: folds, out of n_folds, to use as the test set in turn (default: a single split)",
        )
        cls.add_shared_options(parser)

    @classmethod
    def task_of(cls, args: argparse.Namespace) -> DistilledTask:
        return TASKS[args.task]

    @classmethod
    def is_strict(cls, args: argparse.Namespace) -> bool:
        return args.arms is not None

    @classmethod
    def plan(cls, args: argparse.Namespace) -> list[Run]:
        task, known = TASKS[args.task], methods(args.task)
        if args.final and not args.arms:
            raise ValueError("--final scores the test set, which is for chosen methods: name them with --arms.")
        if args.fusion_method not in known or args.fusion_method == ALONE:
            raise ValueError(
                f"--fusion_method must be a method with a teacher; got {args.fusion_method!r}, there are "
                f"{', '.join(known)}."
            )
        if args.hybrid is not None:
            # a kind that there is not would leave out every fusion
            check_bundle_settings(task.teacher_bundle, {"teacher_kind": args.hybrid}, args.bundles)
        shared = cls.shared_teacher(args)
        arms = {name: Arm(name, name, {"method": name}, task.bundle, shared.name) for name in known if name != ALONE}
        teachers = {shared.name: shared}
        for fuse, hybrid in _hybrids(task, args, cls.shared_settings(args)).items():
            teacher = f"{TEACHER}_{_FUSE}{fuse}"
            teachers[teacher] = Arm(teacher, teacher, hybrid, task.teacher_bundle)
            settings = {**hybrid, "method": args.fusion_method}
            arms[_FUSE + fuse] = Arm(_FUSE + fuse, _FUSE + fuse, settings, task.bundle, teacher)
        chosen = [name for name in args.arms or arms if name != ALONE]
        if unknown := [name for name in chosen if name not in arms]:
            raise ValueError(f"there are no arms {unknown} of {task.name}; there are {', '.join([ALONE, *arms])}.")
        # the student alone may be a part of its own
        if chosen or args.arms != [ALONE]:
            check_different(arms=chosen)
        alone = Arm(ALONE, "student alone", {"method": ALONE}, task.bundle)
        return cls.runs_of([alone, *(arms[name] for name in chosen)], teachers, args.seeds, task.name, args.fold)

    def arm_of(self, record: RunRecord) -> Arm | None:
        # of a fusion the options of then chose the teacher
        if record.arm not in methods(self.task.name):
            return None
        teacher = None if record.arm == ALONE else TEACHER if self.teacher is None else GIVEN
        return Arm(record.arm, record.arm, {"method": record.arm}, self.task.bundle, teacher)

    def may_differ_in(self, arm: Arm) -> frozenset[str]:
        # each method may be given options that suit it
        return super().may_differ_in(arm) | set(methods(self.task.name)[arm.name].options)

    @classmethod
    def given_settings(cls, args: argparse.Namespace) -> dict[str, Any]:
        settings = super().given_settings(args)
        if args.fold is not None:
            if "fold" in settings:
                raise ValueError("the command sets fold itself by --fold; leave it out of --set.")
            config = training_config(cls.task_of(args).bundle, args.bundles)
            for fold in args.fold:
                check_fold(fold, settings.get("n_folds", config["n_folds"]))
        return settings

    @classmethod
    def arm_labels(cls, records: Sequence[RunRecord]) -> dict[str, str]:
        taught = {record.arm: record.settings["method"] for record in records if "method" in record.settings}
        means = {arm: _mean(records, arm) for arm in taught}
        # the best first, behind the one that all are compared with
        ordered = sorted(taught, key=lambda arm: (arm != ALONE, -means[arm], arm))
        return {arm: _label(arm, taught[arm]) for arm in ordered}


def _hybrids(task: DistilledTask, args: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Fusion -> the settings of its teacher, without that of the shared teacher where it is such a hybrid itself."""
    given = parse_settings(args.set)
    kind, usual, seen = args.hybrid or task.hybrid, given.get("fuse", task.fusions[0]), given.get("resolutions")
    found: dict[str, dict[str, Any]] = {fuse: {"teacher_kind": kind, "fuse": fuse} for fuse in task.fusions}
    found |= {own: {"teacher_kind": own, "fuse": task.fusions[0]} for own in task.fused_kinds if own != kind}
    found[_RESOLUTIONS] = {"teacher_kind": kind, "fuse": usual, "resolutions": seen or _halved(settings)}
    if args.teacher_checkpoint is None:
        shared = {"teacher_kind": given.get("teacher_kind", task.hybrid), "fuse": usual, "resolutions": seen}
        found = {fuse: own for fuse, own in found.items() if {"resolutions": seen, **own} != shared}
    # options are of one kind of network
    of_kind = given.get("teacher_kind", kind) if "teacher_options" in given else None
    return {
        fuse: own if of_kind in (None, own["teacher_kind"]) else {**own, "teacher_options": None}
        for fuse, own in found.items()
    }


def _halved(settings: Mapping[str, Any]) -> list[int]:
    """Edges of half the size of the teacher's images and of the whole."""
    size = settings.get("teacher_image_size") or settings.get("image_size")
    if settings.get("spatial_dims") == 3 and isinstance(settings.get("roi_size"), list):
        size = next(iter(settings["roi_size"]), None)
    # a size that is no number is refused with the other settings
    whole = size if isinstance(size, int) else 2 * _MULTIPLE
    return [max(whole // 2 // _MULTIPLE, 1) * _MULTIPLE, whole]


def _label(arm: str, method: str) -> str:
    if arm == ALONE:
        return "student alone"
    if arm == _FUSE + _RESOLUTIONS:
        return f"{method}, teacher of several resolutions"
    return f"{method}, teacher fused by {arm.removeprefix(_FUSE)}" if arm.startswith(_FUSE) else arm


def _mean(records: Sequence[RunRecord], arm: str) -> float:
    metric = task_of(records).patient_score
    values = [value for r in records if r.arm == arm and (value := r.metrics.get(metric)) is not None]
    return sum(values) / len(values) if values else float("-inf")


EXPERIMENT = MethodComparison
