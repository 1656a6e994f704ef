"""Many runs of bundles over one set of patients: each is trained once, each result is a record."""

from __future__ import annotations

import gc
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from ckdmed.bundle.renamed_settings import with_new_names
from ckdmed.bundle.typed_command import typed_command
from ckdmed.bundle.workflow import bundle_folder, bundle_settings, bundle_workflow
from ckdmed.data import sha256_of
from ckdmed.data.datalist import DATALIST_NAME
from ckdmed.files import remove_leftovers, write_atomic
from ckdmed.json_files import read_json, read_json_lines
from ckdmed.paths import checked_name, output_path
from ckdmed.reports import RunRecord, read_records
from ckdmed.reports.run_record import record_files

__all__ = [
    "PlannedArm",
    "PlannedRun",
    "RecordedRuns",
    "check_one_datalist",
    "listed_runs",
    "own_settings",
    "read_sections",
    "remove_resume_files",
    "seconds_line",
    "write_table",
]

logger = logging.getLogger(__name__)

# what a record's settings are without: places, and what does not change the result
PLACES = (
    "dataset_dir",
    "output_dir",
    "cache_dir",
    "teacher_checkpoint",
    "teachers_dir",
    "resume",
    "cache",
    "cache_teacher",
)


class PlannedArm(Protocol):
    """What a run needs of its arm."""

    @property
    def name(self) -> str: ...
    @property
    def bundle(self) -> str: ...


class PlannedRun(Protocol):
    """One training: its arm and seed, and a name that is also that of its folder and record."""

    @property
    def arm(self) -> PlannedArm: ...
    @property
    def seed(self) -> int: ...
    @property
    def name(self) -> str: ...


RunT = TypeVar("RunT", bound=PlannedRun)


@dataclass
class RecordedRuns(ABC, Generic[RunT]):
    """Does what is missing of many runs.

    A run is finished when its record lies in ``records/validation``; a run that was broken off goes on from its last
    epoch through the bundle's own ``resume``. The test section is looked at by :meth:`test` alone.

    Args:
        output_dir: of runs, records, caches and the table.
        dataset_dir: folder with a ``datalist.json``, so that all runs and all later ones share their patients.
        settings: of the bundles, for all runs.
        bundles: folder of the bundles, see ``bundle_folder``.
        command: noted in the records, one entry per word.

    Raises:
        ValueError: no datalist, with the command that makes one; settings that the runs make themselves.
    """

    output_dir: Path
    dataset_dir: Path
    settings: Mapping[str, Any]
    bundles: Path | None = None
    command: Sequence[str] = field(default_factory=typed_command)

    #: the command that makes the datalist of such a folder
    datalist_command: ClassVar[str]
    #: settings that the runs make themselves
    made_settings: ClassVar[tuple[str, ...]] = ("dataset_dir", "output_dir", "cache_dir", "resume", "seed")

    def __post_init__(self) -> None:
        if taken := [key for key in self.made_settings if key in self.settings]:
            raise ValueError(f"the command makes {', '.join(taken)} itself; use its own arguments.")
        datalist = self.dataset_dir / DATALIST_NAME
        if not datalist.is_file():
            raise ValueError(
                f"{datalist}: there is no datalist to fix the patients of each section for all runs; make it with "
                f"`ckdmed {self.datalist_command} {self.dataset_dir}`."
            )
        content = self.read_datalist(datalist)
        self.data_sha256 = sha256_of(datalist)
        self.split = {"name": "datalist by patient group", "datalist_seed": content.get("seed")}

    @abstractmethod
    def read_datalist(self, path: Path) -> Mapping[str, Any]:
        """The checked content of a datalist of the bundles' kind."""

    @abstractmethod
    def run_settings(self, run: RunT, base: Mapping[str, Any]) -> dict[str, Any]:
        """All settings of a run, given those that all runs share; what follows from other runs is kept with it."""

    @abstractmethod
    def metrics(self, run: RunT, summary: Mapping[str, Any]) -> dict[str, Any]:
        """What a record keeps of an evaluation's ``summary.json``: numbers by name."""

    def patients(self, run: RunT, summary: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
        """What a record keeps of it for each patient group, by metric."""
        return {}

    def split_of(self, run: RunT) -> dict[str, Any]:
        """What a record's split says beside the datalist."""
        return {}

    def prepare(self, run: RunT, settings: Mapping[str, Any]) -> None:
        """Make what a run needs before its bundle is opened."""

    @property
    def seconds_note(self) -> str:
        """What the seconds of a record are."""
        return "seconds are those of training and validation"

    def record_path(self, run: RunT, section: str) -> Path:
        """Where the record of a run on a section lies."""
        return _record_path(self.output_dir, run, section)

    def folder(self, run: RunT) -> Path:
        """Where a run's own files lie."""
        return output_path(self.output_dir, f"runs/{checked_name(run.name)}", make_parents=False)

    def done(self, run: RunT, section: str = "validation") -> bool:
        """Whether the record is there.

        Raises:
            ValueError: it is there, made with other settings or other data.
        """
        path = self.record_path(run, section)
        if not path.is_file():
            return False
        record = RunRecord.read(path)
        planned, kept = self._plan(run), with_new_names(record.settings)
        differ = [key for key in planned if key not in PLACES and kept.get(key) != planned[key]]
        if differ or record.data_sha256 != self.data_sha256:
            what = ", ".join(f"{k} {kept.get(k)!r} then and {planned[k]!r} now" for k in differ) or "another datalist"
            raise ValueError(f"{path} was made with other settings ({what}); use another output folder.")
        return True

    def train(self, run: RunT) -> bool:
        """Train, evaluate on the validation section and write the record, unless it is there.

        Returns:
            whether there was something to do.
        """
        if self.done(run):
            logger.info(f"{run.name}: done before")
            remove_resume_files(self.folder(run))
            return False
        logger.info(f"{run.name}: begins")
        self._execute(run, ("train.json",), {})
        self._record(run, "validation")
        remove_resume_files(self.folder(run))
        return True

    def test(self, run: RunT) -> bool:
        """The look at the test section, once per run.

        Raises:
            ValueError: the run is not finished.
        """
        if not self.done(run):
            raise ValueError(f"{run.name} is not finished; the test section is for finished comparisons.")
        if self.done(run, "test"):
            return False
        self._record(run, "test")
        return True

    def do(self, runs: Sequence[RunT], final: bool = False) -> None:
        """Train what is missing, saying which run it is; with ``final`` then look at the test section."""
        remove_leftovers(self.output_dir)
        for number, run in enumerate(runs, 1):
            print(f"[{number}/{len(runs)}] {run.name}", flush=True)
            self.train(run)
        if final:
            for run in runs:
                self.test(run)

    def _plan(self, run: RunT) -> dict[str, Any]:
        base = {
            **self.settings,
            "dataset_dir": str(self.dataset_dir),
            "output_dir": str(self.folder(run)),
            "cache_dir": str(self.output_dir / "cache"),
            "resume": True,
        }
        return self.run_settings(run, base)

    def _execute(self, run: RunT, configs: Sequence[str], overrides: Mapping[str, Any]) -> None:
        settings = {**self._plan(run), **overrides}
        self.prepare(run, settings)
        workflow = bundle_workflow(bundle_folder(run.arm.bundle, self.bundles), settings, configs)
        try:
            workflow.initialize()
            workflow.run()
            workflow.finalize()
        finally:
            del workflow
            gc.collect()

    def _record(self, run: RunT, section: str) -> None:
        evaluation = self.folder(run) / f"evaluation_{section}"
        self._execute(run, ("train.json", "evaluate.json"), {"section": section, "evaluation_dir": str(evaluation)})
        summary = read_json(evaluation / "summary.json")
        history = read_json_lines(self.folder(run) / "metrics.jsonl")
        found = self.metrics(run, summary)
        RunRecord(
            name=run.name,
            arm=run.arm.name,
            command=list(self.command),
            seed=run.seed,
            split={**self.split, **self.split_of(run), "section": section},
            metrics={k: None if v is None or v != v else float(v) for k, v in found.items()},
            patients=self.patients(run, summary),
            data_sha256=self.data_sha256,
            settings={k: v for k, v in self._plan(run).items() if k not in PLACES},
            seconds=round(sum(row["seconds"] for row in history), 1),
            notes=f"{self.seconds_note}; {len(history)} epochs",
        ).write(self.record_path(run, section))


def remove_resume_files(folder: Path) -> None:
    """Remove what a broken-off run would need from the folder of a finished one, teachers' among it."""
    for path in sorted(folder.rglob("resume_epoch=*.pt")):
        path.unlink()


def listed_runs(output_dir: Path, runs: Sequence[PlannedRun]) -> list[str]:
    """A line for each run, with whether its record is in the output folder; nothing is made or read."""
    return [f"{'done' if _record_path(output_dir, r, 'validation').is_file() else '    '}  {r.name}" for r in runs]


def _record_path(output_dir: Path, run: PlannedRun, section: str) -> Path:
    return output_path(output_dir, f"records/{section}/{checked_name(run.name)}.json", make_parents=False)


def own_settings(name: str = "seg_kd") -> set[str]:
    """The names of a bundle's settings."""
    return set(bundle_settings(name))


def read_sections(folder: Path) -> list[RunRecord]:
    """The records below ``folder``, of its sections ``validation`` and ``test``.

    Raises:
        ValueError: there are none.
    """
    records: list[RunRecord] = []
    for section in ("validation", "test"):
        if record_files(folder / section):
            records += read_records([folder / section])
    if not records:
        raise ValueError(f"{folder} holds no records; run the comparison first.")
    # those of earlier versions have settings by the names of then
    return [
        replace(record, settings=with_new_names(record.settings), split=with_new_names(record.split))
        for record in records
    ]


def check_one_datalist(records: Sequence[RunRecord]) -> None:
    """Raise ValueError when the records are of several datalists, which are not comparable."""
    if len({record.data_sha256 for record in records}) > 1:
        raise ValueError("the records are of several datalists; make a table of one comparison at a time.")


def write_table(text: str, path: Path) -> str:
    """Write a table, whole or not at all, and return it."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return text


def seconds_line(records: Sequence[RunRecord], arms: Mapping[str, str]) -> str:
    """The mean seconds of each arm's runs, and the machines, as a line below a table."""
    entries = []
    for arm, label in arms.items():
        seconds = [record.seconds for record in records if record.arm == arm and record.seconds is not None]
        if seconds:
            entries.append(f"{label} {sum(seconds) / len(seconds):.0f}")
    machines = sorted({record.machine for record in records})
    return f"Seconds of training per run (mean): {', '.join(entries)}. Machine: {'; '.join(machines)}.\n"
