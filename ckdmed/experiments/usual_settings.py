"""What settings are where none are given, so that runs with and without a value in words can be compared."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckdmed.bundle.method_options import method_options
from ckdmed.bundle.trained import settings_read, told_by_teacher
from ckdmed.bundle.workflow import bundle_settings
from ckdmed.experiments.given_settings import training_config
from ckdmed.methods import method_named, methods
from ckdmed.reports import RunRecord

__all__ = ["options_in_effect", "usual_settings", "with_usual_settings"]

# what a record is sorted by, which a bundle would take for a table of its own sizes
_LABEL = "profile"
# of texts that a configuration evaluates or builds; a record is data, and nothing in it may be run
_RUN = ("$", "@", "%", "_target_")


def options_in_effect(settings: Mapping[str, Any], bundle: str, bundles: Path | None = None) -> dict[str, Any]:
    """What the options of a run's method are: those that are set, and the others' defaults of today.

    Args:
        settings: of the run.
        bundle, bundles: see :func:`~ckdmed.experiments.given_settings.check_bundle_settings`.

    Returns:
        name -> value as JSON has it; nothing of a bundle without distillation, or of a function of one's own.

    Raises:
        ValueError: an unknown method.
    """
    return method_options(training_config(bundle, bundles), settings)


def usual_settings(names: Collection[str], settings: Mapping[str, Any], task: str, bundle: str) -> dict[str, Any]:
    """The values of a student's settings where none are given: an option's in its method, others' in the bundle.

    Args:
        names: of the settings.
        settings: that are given, ``method`` by its name among them; some others depend on them.
        task: of the method.
        bundle: that distils the student.

    Returns:
        name -> value as JSON has it, without the names of what is no setting.

    Raises:
        ValueError: an unknown method.
        RuntimeError: values that the bundle cannot evaluate.
    """
    options = method_named(settings["method"], task).options
    found = {name: options[name] for name in names if name in options}
    if set(names) - set(found):
        of_bundle = bundle_settings(bundle, **{"dataset_dir": ".", **settings})
        found |= {name: of_bundle[name] for name in names if name not in options and name in of_bundle}
    return dict(json.loads(json.dumps(found)))


def with_usual_settings(records: Sequence[RunRecord], bundles: Mapping[str, str]) -> list[RunRecord]:
    """The records of students with values of all settings that others by the same method name, the usual ones where
    they name none: a training is the same whether a usual value is given or not.

    What the record of a given teacher or of starting weights tells where no value is given stays open, and so does what
    follows from values that are unknown today. Nothing that stands in a record is run.

    Args:
        records: of one experiment.
        bundles: task -> the bundle of its students.
    """
    named: dict[str, dict[str, None]] = {}
    for record in records:
        named.setdefault(str(record.settings.get("method")), {}).update(dict.fromkeys(record.settings))
    return [_completed(record, named[str(record.settings.get("method"))], bundles) for record in records]


def _completed(record: RunRecord, names: Collection[str], bundles: Mapping[str, str]) -> RunRecord:
    # the defaults of today need not be those of then
    known = {name: value for name, value in record.options.items() if name in names}
    given, task = {**record.settings, **known}, str(record.split.get("task"))
    record = replace(record, settings=given)
    missing = [name for name in names if name not in given and name != _LABEL]
    if not missing or task not in bundles or str(given.get("method")) not in methods(task):
        return record
    config = training_config(bundles[task])
    told = told_by_teacher(config) if "teacher_sha256" in given else set()
    if given.get("student_pretrained"):
        told |= settings_read(config, "started")
    plain = {name: value for name, value in given.items() if name in config and name != _LABEL and _is_plain(value)}
    try:
        usual = usual_settings([name for name in missing if name not in told], plain, task, bundles[task])
    except RuntimeError:
        return record
    return replace(record, settings={**given, **usual})


def _is_plain(value: Any) -> bool:
    text = json.dumps(value)
    return not any(mark in text for mark in _RUN)
