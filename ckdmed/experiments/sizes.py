"""What does a student of each size gain? Widths of one network, alone and distilled, against what each costs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from ckdmed.bundle.workflow import bundle_parser
from ckdmed.bundle_files import bundle_folder
from ckdmed.deploy.costs import parameters_of
from ckdmed.deploy.timing import latencies
from ckdmed.experiments.distilling import ALONE, GIVEN, TEACHER, Distilling
from ckdmed.experiments.given_settings import parse_settings
from ckdmed.experiments.plan import Arm, Run, check_different
from ckdmed.experiments.records import check_alike
from ckdmed.experiments.tables import Group, by_key
from ckdmed.experiments.tasks import TASKS, DistilledTask
from ckdmed.methods import method_named
from ckdmed.reports import CostPoint, RunRecord, markdown_table, mean_sd, plot_against_costs

__all__ = ["EXPERIMENT", "Sizes"]

_WIDTH = "student_base"
_DISTILLED = "distilled"
#: of the bundles with a network of any width
_BUNDLES = tuple(task.bundle for task in TASKS.values() if task.name != "classification")
_ROUNDS = 30
# of what a record says beside the costs of training
_PARAMETERS, _MS = "parameters [million]", "processor ms per input"
_OF_TEACHER = "teacher: "
_TEACHERS = {TEACHER: "teacher", GIVEN: "teacher, as given"}


@dataclass
class Sizes(Distilling):
    """The arms are the widths of the student's network, each of them alone and distilled by one method from one
    teacher, with equal steps.

    The record of a distilled student says what it and its teacher take for one input, in turns in one process with one
    thread, each of its own image size. The student alone of the same width is the same network.
    """

    name: ClassVar[str] = "sizes"

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--bundle", choices=_BUNDLES, default=_BUNDLES[0], help=f"bundle to train (default: {_BUNDLES[0]})"
        )
        parser.add_argument("--method", metavar="NAME", default="ckd", help="distillation method (default: ckd)")
        parser.add_argument(
            "--widths", nargs="+", type=int, default=[4, 8, 16, 32], help=f"{_WIDTH} to try (default: 4 8 16 32)"
        )
        cls.add_shared_options(parser)

    @classmethod
    def task_of(cls, args: argparse.Namespace) -> DistilledTask:
        return next(task for task in TASKS.values() if task.bundle == args.bundle)

    @classmethod
    def given_settings(cls, args: argparse.Namespace) -> dict[str, Any]:
        if _WIDTH in parse_settings(args.set):
            raise ValueError(f"--set {_WIDTH}: give the widths with --widths.")
        return super().given_settings(args)

    @classmethod
    def plan(cls, args: argparse.Namespace) -> list[Run]:
        task = cls.task_of(args)
        check_different(widths=args.widths)
        if min(args.widths) < 1:
            raise ValueError(f"--widths must be at least 1, got {args.widths}.")
        method_named(args.method, task.name)
        if args.method == ALONE:
            raise ValueError(
                f"--method {ALONE} is the student alone, with which each width is compared anyway; name one that has "
                "a teacher."
            )
        shared = cls.shared_teacher(args)
        arms = []
        for width in args.widths:
            for name, method, teacher in ((ALONE, ALONE, None), (_DISTILLED, args.method, shared.name)):
                settings = {"method": method, _WIDTH: width}
                arms.append(Arm(f"{name}-{width}", f"{name}-{width}", settings, task.bundle, teacher))
        return cls.runs_of(arms, {shared.name: shared}, args.seeds, task.name)

    def possible(self, runs: Sequence[Run]) -> list[Run]:
        left = super().possible(runs)
        planned = self.settings_of(next(run for run in runs if run.arm.bundle == self.task.bundle))
        sizes = set()
        for width in (planned[_WIDTH], 2 * planned[_WIDTH]):
            parser = bundle_parser(bundle_folder(self.task.bundle, self.bundles), {**planned, _WIDTH: width})
            sizes.add(parameters_of(parser.get_parsed_content("network_def")))
        if len(sizes) == 1:
            raise ValueError(
                f"--widths: {_WIDTH} changes nothing of the student_kind {planned.get('student_kind')!r}, so all "
                "students would be the same; leave student_kind out of --set, or give one that has a width."
            )
        return left

    def costs(self, run: Run, history: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
        return {**super().costs(run, history), **self._size(run)}

    def _size(self, run: Run) -> dict[str, float | None]:
        if run.arm.bundle == self.task.teacher_bundle:
            return {}
        get = bundle_parser(bundle_folder(run.arm.bundle, self.bundles), self.settings_of(run)).get_parsed_content
        student, shape = get("network_def").eval(), list(get("input_shape"))
        found: dict[str, float | None] = {_PARAMETERS: parameters_of(student) / 1e6}
        if run.arm.settings["method"] == ALONE:
            return found
        of_teacher = get("teacher_images").shape(shape) if "teacher_images" in self._config else shape
        # one of cross-fitted teachers, of which each answers for its own patients
        teacher = get("teacher_def").eval()
        networks = {_MS: student, _OF_TEACHER + _MS: _OnOwnInput(teacher, of_teacher)}
        taken = latencies({}, networks, torch.randn(1, *shape[1:]).numpy(), threads=1, rounds=_ROUNDS)
        found |= {name: 1000 * one.cpu for name, one in taken.items()}
        return found | {_OF_TEACHER + _PARAMETERS: parameters_of(teacher) / 1e6}

    @classmethod
    def arm_labels(cls, records: Sequence[RunRecord]) -> dict[str, str]:
        words = {ALONE: "student alone", _DISTILLED: "distilled"}
        return {f"{name}-{width}": f"{words[name]}, width {width}" for width in _widths(records) for name in words}

    @classmethod
    def groups(cls, records: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> list[Group]:
        groups = []
        students = [record for record in records if _WIDTH in record.settings and record.arm not in _TEACHERS]
        for own in by_key(students, lambda record: record.settings[_WIDTH]).values():
            task = TASKS[own[0].split["task"]]
            width = own[0].settings[_WIDTH]
            names = {arm: (labels or {}).get(arm, label) for arm, label in cls.arm_labels(own).items()}
            names = {arm: label for arm, label in names.items() if any(record.arm == arm for record in own)}
            baseline = f"{ALONE}-{width}" if f"{ALONE}-{width}" in names else None
            groups.append(Group(f"Width {width}", "validation", own, names, baseline, task.patient_score))
        return groups

    @classmethod
    def opening(cls, records: Sequence[RunRecord]) -> list[str]:
        task = TASKS[records[0].split["task"]]
        scores = task.scores[:2]
        rows = []
        for width in _widths(records):
            own = [record for record in records if record.settings.get(_WIDTH) == width and record.arm not in _TEACHERS]
            costs = _cost_cells(own)
            cells = [_cell(own, arm, width, score) for score in scores for arm in (ALONE, _DISTILLED)]
            rows.append([str(width), *costs, *cells])
        if teachers := [record for record in records if record.arm in _TEACHERS]:
            cells = [cell for score in scores for cell in (mean_sd([r.metrics[score] for r in teachers]), "")]
            rows.append([_TEACHERS[teachers[0].arm], *_cost_cells(records, _OF_TEACHER), *cells])
        head = [f"{score}, {arm}" for score in scores for arm in ("alone", "distilled")]
        methods = sorted({str(r.settings["method"]) for r in records if r.settings.get("method", ALONE) != ALONE})
        return [
            f"Validation set. Method: {', '.join(methods)}. Times are the processor's for one input with one thread, "
            "student and teacher in turns.\n",
            markdown_table(["width", _PARAMETERS, _MS, *head], rows),
        ]

    @classmethod
    def closing(cls, records: Sequence[RunRecord]) -> list[str]:
        machines = "; ".join(sorted({record.machine for record in records}))
        return [
            "The first table of each width is its primary one: each patient's score is the mean of its seeds. "
            f"Intervals and p-values are not corrected for the number of widths. Machine: {machines}.\n"
        ]

    @classmethod
    def check_records(cls, records: Sequence[RunRecord]) -> None:
        super().check_records(records)
        methods = {str(r.settings["method"]) for r in records if r.settings.get("method", ALONE) != ALONE}
        if len(methods) > 1:
            raise ValueError(f"the records are of the methods {', '.join(sorted(methods))}; a comparison covers one.")
        # a line of the picture joins widths, which may differ in nothing else
        of_a_line = [replace(record, arm=record.arm.rpartition("-")[0] or record.arm) for record in records]
        check_alike(of_a_line, lambda arm: cls.of_a_run(arm) | {_WIDTH})

    @classmethod
    def picture(cls, records: Sequence[RunRecord], path: Path, labels: Mapping[str, str] | None = None) -> Path | None:
        """Draw the first score of the task against the parameters and against the time for one input.

        Returns:
            ``path``, or None while no distilled student has run.
        """
        cls.check_records(records)
        score = TASKS[records[0].split["task"]].scores[0]
        lines: dict[str, list[CostPoint]] = {}
        for arm, label in ((ALONE, "student alone"), (_DISTILLED, "distilled")):
            for width in _widths(records):
                own = [
                    record for record in records if record.settings.get(_WIDTH) == width and record.arm not in _TEACHERS
                ]
                parameters, taken = _costs(own, _PARAMETERS), _costs(own, _MS)
                scores = _defined([r.metrics[score] for r in own if r.arm == f"{arm}-{width}"])
                if taken and scores:
                    costs = {_PARAMETERS: _mean(parameters), _MS: _mean(taken)}
                    lines.setdefault(label, []).append(CostPoint(str(width), costs, scores))
        if not lines:
            return None
        of_teacher = _defined([record.metrics[score] for record in records if record.arm in _TEACHERS])
        own_costs = {name: _mean(_costs(records, _OF_TEACHER + name)) for name in (_PARAMETERS, _MS)}
        upper = CostPoint("teacher", own_costs, of_teacher) if of_teacher else None
        return plot_against_costs(lines, score, path, upper)


class _OnOwnInput(nn.Module):
    """A network that sees an input of its own size, whatever the others see."""

    def __init__(self, network: nn.Module, input_shape: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.images = torch.randn(1, *input_shape[1:])

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.network(self.images)


def _widths(records: Sequence[RunRecord]) -> list[int]:
    return sorted({int(r.settings[_WIDTH]) for r in records if _WIDTH in r.settings and r.arm not in _TEACHERS})


def _costs(records: Sequence[RunRecord], name: str) -> list[float]:
    return [value for record in records if (value := record.costs.get(name)) is not None]


def _cost_cells(records: Sequence[RunRecord], of: str = "") -> list[str]:
    # the parameters of all runs are as many
    parameters, taken = _costs(records, of + _PARAMETERS), _costs(records, of + _MS)
    return [mean_sd(parameters[:1], 2), mean_sd(taken, 1)]


def _cell(records: Sequence[RunRecord], arm: str, width: int, score: str) -> str:
    return mean_sd([record.metrics[score] for record in records if record.arm == f"{arm}-{width}"])


def _defined(scores: Sequence[float | None]) -> list[float]:
    # a score of nothing is none, as in the tables, and not 0
    return [float(score) for score in scores if score is not None]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


EXPERIMENT = Sizes
