"""The engine of all experiments: what is missing is trained, evaluated and recorded; the test set comes last."""

from __future__ import annotations

import argparse
import json
import logging
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from tqdm import tqdm

from ckdmed.bundle.run_folder import RESUMED
from ckdmed.bundle.typed_command import typed_command
from ckdmed.bundle_files import bundle_folder
from ckdmed.counted import counted
from ckdmed.data.sections import stored_datalist
from ckdmed.experiments.buildable import check_buildable
from ckdmed.experiments.bundle_run import run_bundle
from ckdmed.experiments.given_settings import parse_settings, settings_beside
from ckdmed.experiments.given_weights import check_given_weights, check_teacher_folds
from ckdmed.experiments.options import ExperimentOptions
from ckdmed.experiments.plan import Arm, Run, of_own_networks
from ckdmed.experiments.records import check_made_beside, check_made_so, of_before, read_experiment, record_path
from ckdmed.experiments.step_cost import step_costs
from ckdmed.experiments.teacher_settings import settings_that_reach
from ckdmed.experiments.usual_settings import options_in_effect
from ckdmed.file_hash import sha256_of
from ckdmed.files import remove_leftovers
from ckdmed.json_files import read_json, read_json_lines
from ckdmed.paths import checked_name, output_path
from ckdmed.reports import RunRecord

__all__ = ["Experiment"]

logger = logging.getLogger(__name__)

#: what a record's settings are without: places, and what does not change the result
PLACES = (
    *("dataset_dir", "output_dir", "cache_dir", "teacher_checkpoint", "teachers_dir"),
    *("resume", "cache", "cache_teacher"),
)


@dataclass
class Experiment(ExperimentOptions):
    """Many runs of bundles over one set of patients. A subclass declares what is run and how it is reported.

    A run is finished when its record lies in ``records/validation``; a run that was broken off goes on from its last
    epoch through the bundle's own ``resume``. The test set is evaluated by :meth:`test` alone.

    Args:
        output_dir: of runs, records, caches and the table.
        dataset_dir: folder with a ``datalist.json``, or a datalist, so that all runs and all later ones share their
            patients.
        settings: of the bundles, for all runs.
        profile: whose sizes these are, for the records.
        bundles: folder of the bundles, see ``bundle_folder``.
        command: noted in the records, one entry per word.
        given: names of the settings that the user gave.
        undrawn: the data are phantoms that are not drawn yet, so that only what needs no data can be looked at.

    Raises:
        ValueError: no datalist, with the command that makes one; settings that the runs make themselves.
    """

    output_dir: Path
    dataset_dir: Path
    settings: Mapping[str, Any]
    profile: str = "compact"
    bundles: Path | None = None
    command: Sequence[str] = field(default_factory=typed_command)
    given: frozenset[str] = frozenset()
    undrawn: bool = False

    #: what a folder of data holds
    data: ClassVar[str]
    #: the command that makes the datalist of such a folder
    datalist_command: ClassVar[str]
    #: settings that a record does not hold
    unrecorded: ClassVar[tuple[str, ...]] = PLACES
    #: whether the test set may be looked at when all is done
    looks_at_test: ClassVar[bool] = True
    #: arms of given weights, which are scored and not trained
    untrained: ClassVar[frozenset[str]] = frozenset()
    #: what records call the Dice of a patient, where :meth:`measure` is the one below
    patient_score: ClassVar[str]
    #: what the seconds of a record are
    seconds_note: ClassVar[str] = "seconds are those of training and validation"

    def __post_init__(self) -> None:
        self.check_settings(self.settings)
        self.datalist: Mapping[str, Any] = {}  # of all phantoms, as the split is
        self.data_sha256, self.split = "", {"name": "datalist by patient group", "datalist_seed": 0}
        if self.undrawn:
            return
        datalist = stored_datalist(self.dataset_dir)
        if not datalist.is_file():
            raise ValueError(
                f"{datalist}: there is no datalist to fix the patients of each section for all runs; make it with "
                f"`ckdmed {self.command_of_datalist()} {self.dataset_dir}`."
            )
        self.datalist = self.read_datalist(datalist)
        self.data_sha256 = sha256_of(datalist)
        self.split["datalist_seed"] = self.datalist.get("seed")

    # what is run

    @classmethod
    def from_options(
        cls, args: argparse.Namespace, output_dir: Path, dataset_dir: Path, settings: Mapping[str, Any]
    ) -> Experiment:
        """The experiment of the options."""
        given, own = frozenset(parse_settings(args.set)), cls.own_fields(args)
        own["undrawn"] = args.dataset_dir is None and not stored_datalist(dataset_dir).is_file()
        return cls(output_dir, dataset_dir, settings, profile=args.profile, bundles=args.bundles, given=given, **own)

    @classmethod
    def own_fields(cls, args: argparse.Namespace) -> dict[str, Any]:
        """What a subclass has beside the fields of all, by the options: name -> value."""
        return {}

    def command_of_datalist(self) -> str:
        """The command that makes the datalist of the data."""
        return self.datalist_command

    @abstractmethod
    def read_datalist(self, path: Path) -> Mapping[str, Any]:
        """The checked content of a datalist of the bundles' kind; ``seed`` is that by which its patients were split."""

    @abstractmethod
    def run_settings(self, run: Run, base: Mapping[str, Any]) -> dict[str, Any]:
        """All settings of a run, given those that all runs share; what follows from other runs is kept with it."""

    def prepare(self, run: Run, settings: Mapping[str, Any]) -> None:
        """Make what a run needs before its bundle is opened."""

    def possible(self, runs: Sequence[Run]) -> list[Run]:
        """The runs without those that the networks or the data of these settings do not allow, which are named.

        Raises:
            ValueError: a run that was asked for by name is one of them; see :meth:`check_given_weights`.
        """
        self.check_given_weights(runs)
        check_teacher_folds(self.settings, self.bundle)
        check_buildable([(run, self.settings_of(run)) for run in self._own_networks(runs)], self.bundles, self.undrawn)
        self.check_together(runs)
        return list(runs)

    def check_together(self, runs: Sequence[Run]) -> None:
        """Raise ValueError where runs, with each other or with those that are recorded, could not stand in one table.

        What the tables refuse is not to be trained for hours first. Runs that take their epochs from others' times are
        checked when their turn comes.
        """
        if self.undrawn:
            return
        names = {run.name for run in runs}
        beside = [record for record in self.recorded() if record.name not in names]
        self.check_records([*beside, *(self._planned(run) for run in of_own_networks(runs))])
        if not all(self.record_path(run, "validation").is_file() for run in runs):
            self._check_made_beside(runs, beside)

    def arm_of(self, record: RunRecord) -> Arm | None:
        """The arm that a record is of; None for an arm of the user's own, such as one of ``--variant``."""
        return None

    def may_differ_in(self, arm: Arm) -> frozenset[str]:
        """Settings in which an arm of an earlier command may differ from those that are now to be trained."""
        return self.of_a_run(arm.name)

    def _check_made_beside(self, runs: Sequence[Run], beside: Sequence[RunRecord]) -> None:
        """Raise ValueError where arms of earlier commands have other settings than those that are now to be trained."""

        def of(split: Mapping[str, Any]) -> str:
            return json.dumps({key: split[key] for key in sorted(split) if key not in ("section", "fold")})

        compared = {of({**self.split, **run.split}) for run in runs}
        # runs of one arm are alike
        for record in {(record.arm, of(record.split)): record for record in beside}.values():
            arm = self.arm_of(record)
            if arm is None or of(record.split) not in compared:
                continue
            split = {key: value for key, value in record.split.items() if key != "section"}
            teacher = record.settings.get("shared_teacher") or (None if arm.teacher == "random" else arm.teacher)
            if of_own_networks([run := Run(arm, record.seed, record.name, split, teacher)]):
                check_made_beside(record, self._planned(run), self.may_differ_in(arm), self.unrecorded, self.completed)

    def check_given_weights(self, runs: Sequence[Run], teachers: Sequence[Path] = ()) -> None:
        """:func:`~ckdmed.experiments.given_weights.check_given_weights` of what is to be trained."""
        # which patients are the test set is not known before they are drawn
        if not self.undrawn:
            own = [(run, self.settings_of(run)) for run in self._own_networks(runs)]
            check_given_weights(own, teachers, self.bundles)

    def _own_networks(self, runs: Sequence[Run]) -> list[Run]:
        return [run for run in of_own_networks(runs) if self.undrawn or not self.done(run)]

    def shared_work(self, run: Run) -> str | None:
        """What of a run the first of several does for all, such as training their teachers; None for nothing.

        Of runs with the same the first one must be done before the others begin, where they would run at a time.
        """
        return None

    def scores(self, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
        """What a record keeps of an evaluation's ``summary.json``: numbers by name."""
        raise NotImplementedError

    def measure(self, run: Run, section: str) -> tuple[dict[str, Any], dict[str, dict[str, float | None]]]:
        """The scores of a finished run on a section, and those of each patient group by metric.

        By default the bundle's ``evaluate.json`` is run, and the patients are compared by their Dice.
        """
        evaluation = self.folder(run) / f"evaluation_{section}"
        bundle = bundle_folder(run.arm.bundle, self.bundles)
        # what an evaluation declares it takes from the checkpoint's record, and may mean otherwise than a training does
        told = set(read_json(bundle / "evaluate.json")) - {"output_dir"}
        asked = {"section": section, "evaluation_dir": str(evaluation), **self.evaluation_settings(run)}
        self._execute(run, ("train.json", "evaluate.json"), asked, without=told)
        summary = read_json(evaluation / "summary.json")
        key = summary["patient_key"]
        patients = {str(row[key]): row["dice"] for row in summary["per_patient"]}
        return self.scores(run, summary), {self.patient_score: patients}

    def evaluation_settings(self, run: Run) -> dict[str, Any]:
        """What the evaluation of a run is given beside its settings: other weights than those that it left."""
        return {}

    def costs(self, run: Run, history: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
        """What a finished run and its network cost, by name; no result, another number on every machine."""
        return step_costs(history)

    # the engine

    def record_path(self, run: Run, section: str) -> Path:
        """Where the record of a run on a section lies."""
        return record_path(self.output_dir, run, section)

    def recorded(self) -> list[RunRecord]:
        """The records that there are, of any section.

        Raises:
            ValueError: see :func:`~ckdmed.experiments.records.read_experiment`.
        """
        folder = self.output_dir / "records"
        return read_experiment(folder) if any(folder.glob("*/*.json")) else []

    def folder(self, run: Run | str) -> Path:
        """Where the files of a run, or of a run's name, lie."""
        name = run if isinstance(run, str) else run.name
        return of_before(output_path(self.output_dir, f"runs/{checked_name(name)}", make_parents=False))

    def done(self, run: Run, section: str = "validation") -> bool:
        """Whether the record is there.

        Raises:
            ValueError: it is there, made with other settings or other data.
        """
        path = self.record_path(run, section)
        if not path.is_file():
            return False
        check_made_so(path, self._planned(run), self.unrecorded, self.completed)
        return True

    def train(self, run: Run) -> bool:
        """Train, evaluate on the validation set and write the record, unless it is there.

        Returns:
            whether there was something to do.

        Raises:
            ValueError: see :meth:`done`; runs of the arm that are there were made with other settings; scores on the
                test set are there, but none on the validation set.
        """
        missing = not self.done(run)
        if missing:
            self._check_test_scores_are_its_own(run)
            self._check_beside(run)
            if run.arm.name not in self.untrained:
                self._execute(run, ("train.json",), {})
            self._record(run, "validation")
        # what a broken-off run would need, teachers' among it; a finished one does not, even if a kill came before this
        for path in sorted(self.folder(run).rglob(RESUMED)):
            path.unlink()
        return missing

    def _check_test_scores_are_its_own(self, run: Run) -> None:
        if (scored := self.record_path(run, "test")).is_file():
            raise ValueError(
                f"{scored}: is of an earlier training of this run, whose record on the validation set is gone; put "
                f"{self.record_path(run, 'validation')} back, or move this one away to train the run again."
            )

    def _check_beside(self, run: Run) -> None:
        """Raise ValueError where a run and earlier ones could not stand in one table."""
        # others may have been recorded since the runs were planned
        self.check_records([*(record for record in self.recorded() if record.name != run.name), self._planned(run)])

    def test(self, run: Run) -> bool:
        """Evaluate on the test set, once per run.

        Raises:
            ValueError: the run is not finished.
        """
        if not self.done(run):
            raise ValueError(f"{run.name} is not finished; the test set is for finished comparisons.")
        if self.done(run, "test"):
            return False
        self._record(run, "test")
        return True

    def do(self, runs: Sequence[Run], final: bool = False) -> None:
        """Train what is missing, with a bar over the runs; with ``final`` then evaluate on the test set.

        Raises:
            ValueError: see :meth:`done`; of any of the runs, before the first training.
        """
        # hours of training must not come before a refusal that the records that are there call for
        for run in [run for run in runs if not self.done(run)]:
            self._check_test_scores_are_its_own(run)
        remove_leftovers(self.output_dir)
        steps = [(self.train, run, "score" if run.arm.name in self.untrained else "train") for run in runs]
        steps += [(self.test, run, "test") for run in runs if final]
        with tqdm(steps, desc=self.name, unit="run") as bar:
            for number, (step, run, what) in enumerate(bar, 1):
                bar.set_postfix_str(run.name)
                started = "done before" if self.done(run, "test" if what == "test" else "validation") else what
                bar.write(f"[{number}/{len(steps)}] {run.name}: {started}")
                step(run)

    def sizes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of this experiment's profile with other settings given."""
        return self.profile_settings(self.profile, given)

    def settings_of(self, run: Run) -> dict[str, Any]:
        """All settings of a run."""
        base = {
            **settings_beside(run.arm.settings, self.settings, self.given, self.sizes),
            "dataset_dir": str(self.dataset_dir),
            "output_dir": str(self.folder(run)),
            "cache_dir": str(self.output_dir / "cache"),
            "resume": True,
        }
        if run.teacher is not None:
            base["teacher_checkpoint"] = str(self.folder(run.teacher) / "models" / "model.pt")
        return self.run_settings(run, base)

    def _recorded_settings(self, run: Run) -> dict[str, Any]:
        """As JSON has them."""
        reaching = settings_that_reach(self.settings_of(run))
        return dict(json.loads(json.dumps({k: v for k, v in reaching.items() if k not in self.unrecorded})))

    def _planned(self, run: Run) -> RunRecord:
        """What the record of a run says before it has run."""
        settings = self._recorded_settings(run)
        return RunRecord(
            *(run.name, run.arm.name, list(self.command), run.seed, {**self.split, **run.split}, {}),
            data_sha256=self.data_sha256,
            settings={**settings, "profile": self.profile},
            options=options_in_effect(settings, run.arm.bundle, self.bundles),
        )

    def _execute(
        self, run: Run, configs: Sequence[str], overrides: Mapping[str, Any], without: Collection[str] = ()
    ) -> None:
        kept = {name: value for name, value in self.settings_of(run).items() if name not in without}
        settings = {**kept, **overrides}
        self.prepare(run, settings)
        run_bundle(run.name, bundle_folder(run.arm.bundle, self.bundles), settings, configs)

    def _record(self, run: Run, section: str) -> None:
        found, patients = self.measure(run, section)
        trained = run.arm.name not in self.untrained
        history = read_json_lines(self.folder(run) / "metrics.jsonl") if trained else []
        planned = self._planned(run)
        replace(
            planned,
            split={**planned.split, "section": section},
            metrics={k: None if v is None or v != v else float(v) for k, v in found.items()},
            patients=patients,
            costs=self.costs(run, history) if trained else {},
            seconds=round(sum(row["seconds"] for row in history), 1) if trained else None,
            notes=f"{self.seconds_note}; {counted(len(history), 'epoch')}" if trained else "given weights, not trained",
        ).write(self.record_path(run, section))
