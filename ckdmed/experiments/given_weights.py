"""Weights that an experiment is given: what students start from, and a teacher that was trained before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.bundle.errors import in_words, root_cause
from ckdmed.bundle.taught_check import check_started_from
from ckdmed.bundle.trained import recorded_settings, settings_read
from ckdmed.bundle.workflow import bundle_parser
from ckdmed.bundle_files import bundle_folder
from ckdmed.engines import load_network
from ckdmed.engines.teachers.folds import check_folds, folds_in
from ckdmed.experiments.plan import Run
from ckdmed.json_files import read_json
from ckdmed.sections.record import SectionRecord, find_own_or_shipped, listed
from ckdmed.sections.training_record import check_unknown_to

__all__ = ["check_given_weights", "check_teacher_folds", "told_of_given", "why_unscored"]


def check_given_weights(
    planned: Sequence[tuple[Run, Mapping[str, Any]]], teachers: Sequence[Path] = (), bundles: Path | None = None
) -> None:
    """Refuse given weights that training would refuse after hours, when the turn of their run comes.

    Args:
        planned: runs with their settings.
        teachers: checkpoints that students of each split learn from.
        bundles: folder of the bundles, see ``bundle_folder``.

    Raises:
        ValueError: what a student starts from is not there or is of another network; weights know test patients of a
            run's split.
    """
    fitting: set[str] = set()
    known: set[tuple[str, str]] = set()
    for run, settings in planned:
        start = settings.get("student_pretrained")
        if start and not Path(start).expanduser().is_file():
            raise ValueError(f"{run.arm.name}: student_pretrained: there is no file '{start}'.")
        split = json.dumps(run.split, sort_keys=True)
        unknown = [str(path) for path in (*teachers, start) if path and (split, str(path)) not in known]
        if not unknown and (not start or run.arm.name in fitting):
            continue
        parser = bundle_parser(bundle_folder(run.arm.bundle, bundles), settings)
        get = parser.get_parsed_content
        try:
            if start and run.arm.name not in fitting:
                check_started_from(parser)
                load_network(get("network_def"), start)
                fitting.add(run.arm.name)
            record = SectionRecord.of(get("sections"), settings["output_dir"])
        except Exception as error:
            raise ValueError(f"{run.name}: {in_words(root_cause(error))}") from error
        for path in unknown:
            known.add((split, path))
            check_unknown_to(path, record)


def told_of_given(teacher: Path, bundle: Path, made: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a given teacher's evaluation: its data are those of its students, its network is what its record
    tells.

    Args:
        teacher: checkpoint.
        bundle: folder of the bundle that evaluates it.
        made: settings that its students share.
    """
    told = recorded_settings(teacher) or {}
    read = settings_read(read_json(bundle / "evaluate.json"))
    kept = {name: value for name, value in made.items() if name not in {*read, "student_pretrained"}}
    return kept | {name: told[name] for name in read if name in told}


def why_unscored(teacher: Path, bundle: Path, planned: Mapping[str, Any]) -> str | None:
    """Why a given teacher cannot be scored on what its students are scored on; None where it can.

    Args:
        teacher, bundle: see :func:`told_of_given`.
        planned: all settings of its evaluation.
    """
    if teacher.suffix == ".json":
        return "each of several cross-fitted teachers covers only its own patients."
    if recorded_settings(teacher) is None:
        return "it has no record of its training (model.json beside it), which states what it expects of an image."
    known = find_own_or_shipped(teacher)
    if known is None or planned.get("train_on_validation"):
        return None
    sections = bundle_parser(bundle, planned).get_parsed_content("sections")
    own = SectionRecord.of(sections, planned["output_dir"])
    what = "patients"
    if own.by_item or known.by_item:
        # patients stand on both sides, and only the slices tell
        what, seen = "slices", sorted({*own.items["validation"]} & {*known.items["train"]})
    else:
        validated = own.patients["validation"].items()
        seen = [group for group, names in validated if "train" in known.sections_of([group, *names])]
    return f"it was trained on {what} of this validation section ({listed(seen)})." if seen else None


def check_teacher_folds(settings: Mapping[str, Any], bundle: str, given: Path | None = None) -> None:
    """Refuse cross-fitted teachers that are not there, which the first student would miss when a teacher is trained:
    an experiment trains one of all patients.

    Args:
        settings: of all runs.
        bundle: that distils, for the message.
        given: checkpoint of the teacher, or ``folds.json``; None where one is trained.

    Raises:
        ValueError: with the command that trains them; see :func:`~ckdmed.engines.teachers.folds.check_folds`.
    """
    checkpoint = str(given) if given else None
    count = settings.get("teacher_folds", folds_in(checkpoint))
    if given is None and count != 1:
        raise ValueError(
            f"teacher_folds is {count}, but this experiment trains one teacher on all patients: train them once by "
            f"`ckdmed run {bundle} train --method kd --teacher_folds {count} --output_dir cross_fitted ...` with the "
            "settings given here, and give cross_fitted/teacher/folds.json as --teacher_checkpoint, which `experiment "
            "methods`, `sweep` and `sizes` take."
        )
    check_folds(count, checkpoint, bool(settings.get("calibrate_teacher")))
