"""What experiments share that distil one student in several ways, from one teacher for all seeds."""

from __future__ import annotations

import argparse
import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ckdmed.bundle.as_teacher import is_of_a_student
from ckdmed.bundle.trained import recorded_settings, told_by_teacher
from ckdmed.bundle_files import bundle_folder
from ckdmed.counted import counted
from ckdmed.experiments.buildable import built_loss
from ckdmed.experiments.cases import region_tables
from ckdmed.experiments.classifier_scores import check_one_class_a_patient, scores_of_sections
from ckdmed.experiments.engine import Experiment
from ckdmed.experiments.given_settings import check_bundle_settings, parse_settings, profile_settings, training_config
from ckdmed.experiments.given_weights import check_teacher_folds, told_of_given, why_unscored
from ckdmed.experiments.label_fractions import labelled_share, on_labelled_images
from ckdmed.experiments.one_teacher import TEACHER, check_one_teacher
from ckdmed.experiments.plan import Arm, Run, check_different
from ckdmed.experiments.step_cost import cost_table
from ckdmed.experiments.tables import Group, by_key, is_comparable, section_title
from ckdmed.experiments.task_data import add_phantom_options
from ckdmed.experiments.tasks import TASKS, DistilledTask, task_of
from ckdmed.experiments.teacher_settings import settings_of_teacher
from ckdmed.file_hash import sha256_of
from ckdmed.methods import method_named, with_options_of
from ckdmed.reports import RunRecord, arm_table, corrected_table

__all__ = ["ALONE", "GIVEN", "TEACHER", "Distilling"]

logger = logging.getLogger(__name__)

#: the method of the student that is trained alone, and the arm of this name
ALONE = "supervised"
#: the arm in place of the shared teacher's, where a checkpoint is given
GIVEN = "given"
_LABELS = {GIVEN: "teacher, as given"}
# how images look is the same for all, the student alone among them, whose settings no teacher's record tells
_INPUTS = ("scaling", "clahe")


@dataclass
class Distilling(Experiment):
    """Arms are students of one kind; each names its ``method``. The shared teacher is trained once, with the first seed
    and by its own bundle, or given as a checkpoint, so that differences between seeds are the students' alone.

    All arms have the same epochs, steps and seeds; where some images have no labels the student alone goes through the
    others more often, in as many steps. What belongs to a method, such as the view of the student
    (``Method.training``), goes before the shared settings. A method and its settings are chosen on the validation
    section, and nothing else is looked at unless a subclass says so: the test set is for what was chosen.

    Args:
        task: of the runs.
        teacher: checkpoint of the shared teacher, or the ``folds.json`` of cross-fitted ones; None to train one.
        strict: raise an error where an arm does not fit the networks; by default it is left out, and named.
    """

    task: DistilledTask = field(default_factory=lambda: TASKS["segmentation"])
    teacher: Path | None = None
    strict: bool = False

    made_settings: ClassVar[tuple[str, ...]] = (*Experiment.made_settings, "method", "teacher_checkpoint")
    untrained: ClassVar[frozenset[str]] = frozenset({GIVEN})
    looks_at_test: ClassVar[bool] = False
    holm: ClassVar[bool] = True
    seconds_note: ClassVar[str] = "seconds are those of training and validation, without the teacher's"
    patient_score: ClassVar[str] = TASKS["segmentation"].patient_score
    headline: ClassVar[str] = TASKS["segmentation"].patient_score
    # the settings of a task stand in its entry of TASKS
    bundle: ClassVar[str] = TASKS["segmentation"].bundle
    data: ClassVar[str] = " or ".join(dict.fromkeys(task.data.words for task in TASKS.values()))
    datalist_command: ClassVar[str] = TASKS["segmentation"].data.datalist_command
    compact: ClassVar[Mapping[str, Any]] = {}
    tiny: ClassVar[Mapping[str, Any]] = {}

    # what is run

    @classmethod
    @abstractmethod
    def task_of(cls, args: argparse.Namespace) -> DistilledTask:
        """The task that the options ask for."""

    @classmethod
    def add_shared_options(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options of the teacher and of the phantoms."""
        parser.add_argument(
            "--teacher_checkpoint",
            type=Path,
            metavar="FILE",
            help="teacher shared by all students, or folds.json of cross-fitted ones (default: train one, with the "
            "first seed)",
        )
        add_phantom_options(parser)

    @classmethod
    def phantoms(cls, folder: Path, args: argparse.Namespace) -> Path:
        return cls.task_of(args).data.phantoms(folder, args)

    def command_of_datalist(self) -> str:
        return self.task.data.datalist_command

    def read_datalist(self, path: Path) -> Mapping[str, Any]:
        return self.task.data.read_datalist(path, self.settings, self._target)

    @classmethod
    def shared_settings(cls, args: argparse.Namespace) -> dict[str, Any]:
        """The profile's sizes, and what the user sets instead."""
        task, given = cls.task_of(args), parse_settings(args.set)
        return {**profile_settings(args.profile, task.bundle, task.tiny, {}, given), **given}

    @classmethod
    def given_settings(cls, args: argparse.Namespace) -> dict[str, Any]:
        task, given = cls.task_of(args), parse_settings(args.set)
        settings = cls.shared_settings(args)
        if args.teacher_checkpoint is not None:
            if not args.teacher_checkpoint.is_file():
                raise ValueError(f"--teacher_checkpoint: there is no file '{args.teacher_checkpoint}'.")
            told = recorded_settings(args.teacher_checkpoint) or {}
            settings |= {name: told[name] for name in _INPUTS if name in told and name not in given}
        cls.check_settings(settings)
        check_bundle_settings(task.bundle, settings, args.bundles)
        if settings.get("train_on_validation") and not cls.looks_at_test:
            raise ValueError(
                "--set train_on_validation: this experiment compares scores of the validation section, which would "
                "then be of patients that were trained on; leave it out."
            )
        return settings

    @classmethod
    def own_fields(cls, args: argparse.Namespace) -> dict[str, Any]:
        teacher = args.teacher_checkpoint and args.teacher_checkpoint.resolve()
        return {"task": cls.task_of(args), "teacher": teacher, "strict": cls.is_strict(args)}

    @classmethod
    def shared_teacher(cls, args: argparse.Namespace) -> Arm:
        """The arm of the teacher that all share: one to train, or the given one, maybe a student, which is scored."""
        task, given = cls.task_of(args), args.teacher_checkpoint
        if given is None:
            return Arm(TEACHER, TEACHER, bundle=task.teacher_bundle)
        student = is_of_a_student(given, recorded_settings(given) or {})
        return Arm(GIVEN, _LABELS[GIVEN], bundle=task.bundle if student else task.teacher_bundle)

    @classmethod
    def is_strict(cls, args: argparse.Namespace) -> bool:
        """Whether the options name each arm, so that none may be left out."""
        return True

    @classmethod
    def runs_of(
        cls,
        arms: Sequence[Arm],
        teachers: Mapping[str, Arm],
        seeds: Sequence[int],
        task: str,
        folds: Sequence[int] | None = None,
    ) -> list[Run]:
        """Runs fold by fold and in there seed by seed, so that a half done experiment is a whole smaller one; a teacher
        before its first student.

        Args:
            arms: the students.
            teachers: by name; trained with the first seed, in each fold anew, or scored where they are given.
            seeds: of the students.
            task: its name.
            folds: that are left out in turn; None for the one split of the settings.

        Raises:
            ValueError: something stands twice.
        """
        check_different(seeds=seeds, arms=[arm.name for arm in arms])
        if folds is not None:
            check_different(folds=folds)
        runs: dict[str, Run] = {}
        for fold in [None] if folds is None else folds:
            split, place = ({"task": task}, "") if fold is None else ({"task": task, "fold": fold}, f"-fold={fold}")
            for seed in seeds:
                for arm in arms:
                    own, teacher = f"{arm.name}{place}-seed={seed}", None
                    if arm.teacher == GIVEN and GIVEN in teachers:
                        # whichever seed is the first one
                        runs.setdefault(GIVEN + place, Run(teachers[GIVEN], seeds[0], GIVEN + place, split))
                    elif arm.teacher in teachers:
                        teacher = f"{arm.teacher}{place}-seed={seeds[0]}"
                        runs.setdefault(teacher, Run(teachers[str(arm.teacher)], seeds[0], teacher, split))
                    runs[own] = Run(arm, seed, own, split, teacher)
        return list(runs.values())

    def sizes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return profile_settings(self.profile, self.task.bundle, self.task.tiny, {}, given)

    def run_settings(self, run: Run, base: Mapping[str, Any]) -> dict[str, Any]:
        # images are prepared once for all runs
        made = {**base, "cache": "disk", **({"fold": run.split["fold"]} if "fold" in run.split else {})}
        if run.arm.bundle == self.task.teacher_bundle:
            made = settings_of_teacher(run.arm.bundle, made, self.bundles)
        elif run.arm.name != GIVEN:
            made = with_options_of(run.arm.settings["method"], self.task.name, made)
            # teachers are trained by their own bundle
            for name in ("teacher_epochs", "teacher_learning_rate"):
                made.pop(name, None)
            made |= method_named(run.arm.settings["method"], self.task.name).training
            if made.get("mixup") and "cache_teacher" in self._config:
                # there is no output of a mixture in a cache
                made["cache_teacher"] = False
        if run.arm.name == GIVEN and self.teacher is not None:
            return told_of_given(self.teacher, bundle_folder(run.arm.bundle, self.bundles), made)
        if run.arm.teacher == GIVEN and self.teacher is not None:
            made = {name: value for name, value in made.items() if name not in self._told()}
            made["teacher_checkpoint"] = str(self.teacher)
        made = {**made, **run.arm.settings, "seed": run.seed}
        if made.get("method") != ALONE:
            return made
        return on_labelled_images(made, self._config, labelled_share(self.datalist, self._target))

    def evaluation_settings(self, run: Run) -> dict[str, Any]:
        # on the patients that its students are scored on, whatever its own sections were
        return {"checkpoint": str(self.teacher), "sections#checkpoint": None} if run.arm.name == GIVEN else {}

    def _told(self) -> set[str]:
        """Settings that the record of the given teacher tells, where the user does not."""
        told = set(recorded_settings(self.teacher) or {}) if self.teacher else set()
        return (told & told_by_teacher(self._config)) - self.given - set(_INPUTS)

    @property
    def _target(self) -> str:
        """What makes an image labelled."""
        return "class" if self.task.name == "classification" else "label"

    @cached_property
    def _config(self) -> dict[str, Any]:
        return training_config(self.task.bundle, self.bundles)

    def _recorded_settings(self, run: Run) -> dict[str, Any]:
        kept = super()._recorded_settings(run)
        if GIVEN in (run.arm.name, run.arm.teacher) and self.teacher is not None:
            kept["teacher_sha256"] = self._teacher_sha256
        return kept

    @cached_property
    def _teacher_sha256(self) -> str:
        return sha256_of(self.teacher) if self.teacher is not None else ""

    def possible(self, runs: Sequence[Run]) -> list[Run]:
        check_teacher_folds(self.settings, self.task.bundle, self.teacher)
        if self.task.name == "classification":
            check_one_class_a_patient(self.datalist)
        trained = [(run.arm.name, run.seed) for run in runs]
        check_one_teacher([*trained, *((record.arm, record.seed) for record in self.recorded())])
        refused: dict[str, str] = {}
        # an arm for all its runs; what is done has fitted
        for run in {run.arm.name: run for run in runs if self.undrawn or not self.done(run)}.values():
            if run.arm.name != GIVEN and run.arm.teacher not in refused and (reason := self._refusal(run)):
                # without these there is no comparison, so the settings of all are wrong
                if self.strict or run.arm.name in (ALONE, TEACHER):
                    raise ValueError(f"{run.arm.name}: {reason}")
                refused[run.arm.name] = reason
        left = [run for run in runs if run.arm.name not in refused and run.arm.teacher not in refused]
        if refused and not any(run.arm.teacher for run in left):
            raise ValueError("; ".join(f"{name}: {reason}" for name, reason in refused.items()))
        for name, reason in refused.items():
            logger.warning(f"left out because it does not fit: {name}: {reason}")
        self.check_given_weights(left, [self.teacher] if self.teacher else [])
        if self.undrawn:
            return left
        for run in [run for run in left if run.arm.name == GIVEN and not self.done(run)]:
            if reason := self._unscored(run):
                logger.warning(f"{self.teacher} has no row of its own in {run.name}: {reason}")
                left.remove(run)
        self.check_together(left)
        return left

    def _unscored(self, run: Run) -> str | None:
        bundle = bundle_folder(run.arm.bundle, self.bundles)
        return why_unscored(self.teacher, bundle, self.settings_of(run)) if self.teacher else None

    def _refusal(self, run: Run) -> str | None:
        """Why a run cannot begin, by its settings and by building its networks and its loss; None where it can."""
        given = self.teacher if run.arm.teacher == GIVEN and self.teacher and self.teacher.suffix != ".json" else None
        try:
            loss, get = built_loss(run.arm.bundle, self.settings_of(run), self.bundles, self.undrawn, given)
        except ValueError as error:
            return str(error)
        if loss is None:
            return None
        taught = [term for term in loss.terms.values() if term.source != "target"]
        if taught and all(term.samples == "unlabelled" for term in taught):
            # all phantoms have labels
            if get("label_fraction") == 1 if self.undrawn else all(i["labelled"] for i in get("sections")["train"]):
                return (
                    "it teaches only on images without labels, but here all have one, so it would be the student "
                    "alone once more (set label_fraction)."
                )
        return None

    def measure(self, run: Run, section: str) -> tuple[dict[str, Any], dict[str, dict[str, float | None]]]:
        if self.task.name != "classification":
            metrics, patients = super().measure(run, section)
            # the name of the score is the task's
            return metrics, {self.task.patient_score: scores for scores in patients.values()}
        bundle, weights = bundle_folder(run.arm.bundle, self.bundles), self.folder(run) / "models" / "model.pt"
        given = self.teacher if run.arm.name == GIVEN else None
        return scores_of_sections(bundle, self.settings_of(run), section, given or weights)

    def scores(self, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
        return self.task.data.scores(summary)

    # how it is reported

    @classmethod
    def arm_labels(cls, records: Sequence[RunRecord]) -> dict[str, str]:
        """Arm -> name to print, of the students among the records, in the order to print."""
        raise NotImplementedError

    @classmethod
    def groups(cls, records: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> list[Group]:
        groups = []
        for own in by_key(records, lambda r: (r.split["section"] != "test", r.split["task"])).values():
            task = task_of(own)
            names = {arm: (labels or {}).get(arm, label) for arm, label in cls.arm_labels(own).items()}
            baseline = ALONE if ALONE in names else None
            title = f"{task.name.capitalize()}, {section_title(own[0]).lower()}{_of_folds(own)}"
            groups.append(Group(title, own[0].split["section"], own, names, baseline, task.patient_score))
        return groups

    @classmethod
    def check_records(cls, records: Sequence[RunRecord]) -> None:
        super().check_records(records)
        tasks = sorted({str(record.split.get("task")) for record in records})
        if len(tasks) > 1 or tasks[0] not in TASKS:
            raise ValueError(f"the records are of the tasks {', '.join(tasks)}; make a table of one of {list(TASKS)}.")
        check_one_teacher([(record.arm, record.seed) for record in records])
        given = {sha256 for record in records if (sha256 := record.settings.get("teacher_sha256"))}
        if len(given) + any(record.arm == TEACHER for record in records) > 1:
            raise ValueError(
                "the students learned from several teachers (different --teacher_checkpoint, or one that was trained "
                "here), so a table would mix up teachers and methods; keep the students of each teacher in a folder "
                "of their own."
            )

    @classmethod
    def group_tables(cls, group: Group) -> list[str]:
        task = task_of(group.records)
        parts = []
        if is_comparable(group, task.patient_score):
            parts.append(corrected_table(group.records, task.patient_score, str(group.baseline), group.names))
        parts += _score_tables(task, group.records, group.baseline, group.names)
        parts.append(cost_table(group))
        others = sorted({record.arm for record in group.records} - set(group.names))
        teachers = {arm: _LABELS.get(arm, arm) for arm in others}
        if teachers:
            parts += ["Teachers:\n", *_score_tables(task, group.records, None, teachers)]
        return parts

    @classmethod
    def closing(cls, records: Sequence[RunRecord]) -> list[str]:
        machines = "; ".join(sorted({record.machine for record in records}))
        return [
            "The first table is the primary one: each patient's score is the mean of its seeds, and intervals and "
            "p-values are corrected for the number of arms. Costs are of training steps, without validation. "
            f"Machine: {machines}.\n"
        ]


def _of_folds(records: Sequence[RunRecord]) -> str:
    """What a title says of cross-validation, with the number of patients in all; nothing of the one split."""
    folds = sorted({record.split["fold"] for record in records if "fold" in record.split})
    if not folds:
        return ""
    patients = {patient for record in records for scores in record.patients.values() for patient in scores}
    return f" of fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}: {counted(len(patients), 'patient')}"


def _score_tables(
    task: DistilledTask, records: Sequence[RunRecord], baseline: str | None, arms: Mapping[str, str] | Sequence[str]
) -> list[str]:
    """The scores, with their differences to the baseline, then the distances, then what each region has of both."""
    labels = arms if isinstance(arms, Mapping) else {arm: arm for arm in arms}
    parts = [arm_table(records, task.scores, baseline, labels)]
    if task.distances:
        near = task.distances
        parts.append(arm_table(records, near, baseline, labels, decimals=2, smaller_is_better=near))
    return [*parts, *region_tables(records, labels)]
