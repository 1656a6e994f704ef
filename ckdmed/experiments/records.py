"""The records of an experiment: one file per run and section while it runs, one JSON Lines file to keep."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckdmed.bundle.renamed_settings import with_new_names
from ckdmed.experiments.plan import ARM_OF_BEFORE, Run
from ckdmed.experiments.teacher_settings import settings_that_reach
from ckdmed.files import write_atomic
from ckdmed.json_files import read_json_lines
from ckdmed.paths import checked_name, output_path
from ckdmed.reports import RunRecord, read_records
from ckdmed.reports.run_record import record_files

__all__ = [
    "SECTIONS",
    "check_alike",
    "check_made_beside",
    "check_made_so",
    "check_one_datalist",
    "collect_records",
    "listed_runs",
    "of_before",
    "read_experiment",
    "record_path",
]

# what the arm of before is called now, as its method is
_ARM_OF_NOW = "ckd"
#: in the order in which they are read and collected
SECTIONS = ("validation", "test")


def read_experiment(path: Path) -> list[RunRecord]:
    """The records of an experiment.

    Args:
        path: a JSON Lines file of :func:`collect_records`, or a folder with the sections ``validation`` and ``test`` or
            with the records themselves.

    Raises:
        ValueError: there are none, two of a section have one name, or a file or line is no record.
    """
    records = _collected(path) if path.is_file() else _of_folder(path)
    # those of earlier versions have settings and an arm by the names of then
    now = [
        replace(
            _with_arm_of_now(record), settings=_settings_of_now(record.settings), split=with_new_names(record.split)
        )
        for record in records
    ]
    keys = [(record.split.get("section"), record.name) for record in now]
    if twice := sorted({str(key) for key in keys if keys.count(key) > 1}):
        raise ValueError(f"{path} has several records of {twice[0]}; a run counts once.")
    return now


def of_before(path: Path) -> Path:
    """The file or folder of a run, or that of one which an earlier version began or finished under another name."""
    before = path.with_name(path.name.replace(f"-{_ARM_OF_NOW}-", f"-{ARM_OF_BEFORE}-"))
    return before if before.exists() and not path.exists() else path


def _with_arm_of_now(record: RunRecord) -> RunRecord:
    if record.arm != ARM_OF_BEFORE:
        return record
    return replace(record, arm=_ARM_OF_NOW, name=record.name.replace(f"-{ARM_OF_BEFORE}-", f"-{_ARM_OF_NOW}-"))


def _settings_of_now(settings: Mapping[str, Any]) -> dict[str, Any]:
    # the first records of table1 call a profile a preset, and hold the settings beside it
    if "overrides" in settings:
        return {**with_new_names(settings["overrides"]), "profile": settings["preset"]}
    return with_new_names(settings)


def _of_folder(path: Path) -> list[RunRecord]:
    records: list[RunRecord] = []
    for folder in (*(path / section for section in SECTIONS), path):
        if record_files(folder):
            records += read_records([folder])
    if not records:
        raise ValueError(f"{path} holds no records; run the comparison first.")
    return records


def _collected(path: Path) -> list[RunRecord]:
    lines = read_json_lines(path)
    records = [RunRecord.from_plain(content, f"{path}, record {number}") for number, content in enumerate(lines, 1)]
    if not records:
        raise ValueError(f"{path} holds no records.")
    return records


def collect_records(records: Sequence[RunRecord], path: Path) -> Path:
    """Write records as one JSON Lines file, a line each, whole or not at all.

    They stand in the order in which they were read, so that a table of the file is that of the folder.
    """
    text = "".join(f"{record.to_json()}\n" for record in records)
    return write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def check_made_so(
    path: Path,
    planned: RunRecord,
    unrecorded: Collection[str],
    completed: Callable[[Sequence[RunRecord]], Sequence[RunRecord]] = list,
) -> None:
    """Raise ValueError where a finished run was made with other settings or other data than those planned now.

    Args:
        path: of its record.
        planned: what its record would say of settings and data today.
        unrecorded: settings that a record does not hold.
        completed: of records those to compare, see :meth:`~ckdmed.experiments.report.Report.completed`.
    """
    record = RunRecord.read(path)
    told = _told(record, planned, {"profile"}, unrecorded, completed)
    if told or record.data_sha256 != planned.data_sha256:
        what = told or "another datalist"
        raise ValueError(f"{path} was made with other settings ({what}); use another output folder.")


def check_made_beside(
    record: RunRecord,
    planned: RunRecord,
    own: Collection[str],
    unrecorded: Collection[str],
    completed: Callable[[Sequence[RunRecord]], Sequence[RunRecord]] = list,
) -> None:
    """Raise ValueError where a finished run, which others are to be trained beside, would be made otherwise today.

    Arms differ in what they are about; in all else they would have to be as the others.

    Args:
        record: of the run.
        planned, unrecorded, completed: see :func:`check_made_so`.
        own: settings that each run of its arm has of its own.
    """
    if told := _told(record, planned, {"profile", *own}, unrecorded, completed):
        raise ValueError(
            f"{record.name}, which stands in the table beside the runs to train, was made with other settings "
            f"({told}): give the same settings as then, or use another output folder."
        )


def _told(
    record: RunRecord,
    planned: RunRecord,
    left_out: Collection[str],
    unrecorded: Collection[str],
    completed: Callable[[Sequence[RunRecord]], Sequence[RunRecord]],
) -> str:
    """The settings by which a finished run differs from what is planned now, in words."""
    kept = settings_that_reach(with_new_names(record.settings))
    # what was set then and is not now would be another training as well
    compared = [*planned.settings, *(key for key in kept if key not in {*planned.settings, *unrecorded})]
    then, now = completed([replace(record, settings=kept), planned])
    return ", ".join(
        f"{key} {before!r} then and {today!r} now"
        for key, before, today in _differences(then, now, compared)
        if key not in left_out
    )


def _differences(one: RunRecord, other: RunRecord, names: Collection[str]) -> list[tuple[str, Any, Any]]:
    """The settings of two records that differ, with both values.

    A method's option that is not set has the default of the day on which its run was made, where the records know it.
    One that the method did not have then has no value, which is another than any that it has now.
    """
    options = one.options.keys() | other.options.keys() if one.options and other.options else set()
    first, second = ({**record.settings, **record.options} if options else record.settings for record in (one, other))
    names = dict.fromkeys([*names, *sorted(options)])
    return [(key, first.get(key), second.get(key)) for key in names if first.get(key) != second.get(key)]


def check_one_datalist(records: Sequence[RunRecord]) -> None:
    """Raise ValueError when the records are of several datalists, which are not comparable."""
    if len({record.data_sha256 for record in records}) > 1:
        raise ValueError("the records are of several datalists; make a table of one comparison at a time.")


def check_alike(records: Sequence[RunRecord], of_a_run: Callable[[str], Collection[str]]) -> None:
    """Raise ValueError when runs of one arm, whose mean a table gives, were made with different settings, or when arms,
    which it compares, were made at the sizes of different profiles, or some of folds and others of the one split.

    A command compares the runs that it is asked for with their records, not with those that lie beside them. Of runs
    without a teacher, settings of teachers may differ.

    Args:
        records: of one experiment.
        of_a_run: arm -> settings that each of its runs has of its own.
    """
    if len(profiles := {str(record.settings.get("profile")) for record in records}) > 1:
        raise ValueError(
            f"the runs are of the profiles {', '.join(sorted(profiles))}, whose networks and images differ in size; "
            "keep those of one profile in a folder of their own."
        )
    of_fold, of_one_split = (
        next((record for record in records if ("fold" in record.split) is wanted), None) for wanted in (True, False)
    )
    if of_fold is not None and of_one_split is not None:
        raise ValueError(
            f"the run {of_fold.name} is of a fold, but the run {of_one_split.name} is of a single split, whose "
            "patients are spread over several folds; keep folds in a folder of their own."
        )
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        # both sections are of the same training, and a fold is a run as a seed is
        split = {name: value for name, value in record.split.items() if name not in ("section", "fold")}
        groups.setdefault((record.arm, json.dumps(split, sort_keys=True)), []).append(record)
    for (arm, _), (first, *others) in groups.items():
        # a setting alone makes no cross-validation: the table would not tell that other patients were scored
        own = set(of_a_run(arm)) - ({"fold"} if of_fold is None else set())
        of_first = replace(first, settings=settings_that_reach(first.settings))
        for other in others:
            of_other = replace(other, settings=settings_that_reach(other.settings))
            names = [name for name in dict.fromkeys([*of_first.settings, *of_other.settings]) if name not in own]
            told = ", ".join(f"{name} {a!r} and {b!r}" for name, a, b in _differences(of_first, of_other, names))
            if told:
                raise ValueError(
                    f"the runs {first.name} and {other.name} of the arm {arm} were made with different settings "
                    f"({told}), so they have no common mean; keep those of one setting in a folder of their own."
                )


def listed_runs(output_dir: Path, runs: Sequence[Run]) -> list[str]:
    """A line for each run, with whether its record is in the output folder; nothing is made or read."""
    found = [record_path(output_dir, run, "validation").is_file() for run in runs]
    return [f"{'done' if there else '    '}  {run.name}" for there, run in zip(found, runs)]


def record_path(output_dir: Path, run: Run, section: str) -> Path:
    """Where the record of a run on a section lies in an experiment's folder."""
    path = output_path(output_dir, f"records/{section}/{checked_name(run.name)}.json", make_parents=False)
    return of_before(path)
