"""What every bundle does when a run begins and when it ends."""

from __future__ import annotations

import json
import logging
import math
import platform
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from ckdmed import __version__
from ckdmed.bundle.component_overrides import NO_COMPONENTS, component_overrides
from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.method_options import method_options
from ckdmed.bundle.resume_check import changed_settings, check_resumed, run_record
from ckdmed.bundle.run_folder import (
    ARTEFACTS,
    SETTINGS,
    check_places,
    from_rank_0,
    refuse_earlier_run,
    run_of,
    weights_folder,
)
from ckdmed.bundle.run_lock import hold, release
from ckdmed.bundle.running import running_workflow
from ckdmed.bundle.setting_check import is_plain, taken_settings
from ckdmed.bundle.settings_table import settings_for
from ckdmed.bundle.stopping import run_begins, run_ends
from ckdmed.bundle.typed_command import typed_command
from ckdmed.bundle.weights_hash import hash_of_weights
from ckdmed.file_hash import sha256_of
from ckdmed.files import remove_leftovers, write_json
from ckdmed.json_files import read_json_lines
from ckdmed.sections.record import find_own_or_shipped

__all__ = ["claim_run", "evaluation_settings", "finish_run", "running_method_options", "running_settings"]
__all__ += ["settings_of", "start_run"]

logger = logging.getLogger("ckdmed")

# Lines of the log go above a progress bar instead of into it, for the rest of the process. A context that nothing holds
# is collected, and would end at once.
_REDIRECTIONS: list[AbstractContextManager[None]] = []


def claim_run(output_dir: str, resume: bool = False, save: bool = True, weights: Sequence[str] = ()) -> str:
    """Make the output folder this run's own, before anything is drawn or written in it; nothing there is removed.

    A configuration has it as a component, on which all depends that writes: whoever builds the trainer without running
    the bundle has the folder claimed too, and a workflow that is only initialised leaves none.

    Args:
        output_dir: of the run; phantoms and files of others in it stay.
        resume: go on with the run that is there.
        save: False on every rank but one, which wait for the result of that one.
        weights: further folders that this run writes weights into.

    Returns:
        the folder.

    Raises:
        RefusedStart: the folder holds a run and this one is not to resume it, another process is running in it, or it
            cannot be written to.
    """
    if not save:
        # rank 0 reports for all; errors on another rank are still shown
        logging.getLogger().setLevel(logging.WARNING)
    refusal = from_rank_0(lambda: _claim(Path(output_dir), resume, weights) if save else None)
    if refusal:
        raise RefusedStart(refusal)
    return output_dir


def _claim(folder: Path, resume: bool, weights: Sequence[str]) -> str | None:
    """Claim it, or say why not: where there are several processes, each has to know."""
    try:
        check_places(folder)
        if not resume:
            refuse_earlier_run(folder, weights)
        else:
            workflow, settings = running_workflow(), running_settings()
            record = run_record(folder)
            if "epochs" not in settings and record is not None:
                raise RefusedStart(
                    f"'{folder}' holds a training, whose record this run would replace with its own: give another "
                    f"output_dir, such as '{folder / 'inference'}'."
                )
            options = () if workflow is None else taken_settings(workflow.parser.get())
            components = _components(settings, (record or {}).get("components", ()))
            check_resumed(folder, settings, options, components, running_method_options(settings))
        hold(folder)
        if not resume:
            _hold_weights(folder, weights)
    except RefusedStart as error:
        return str(error)
    run_begins(folder)
    for path in remove_leftovers(folder):
        logger.info(f"removed a half-written file that a killed run left: {path}")
    return None


def _hold_weights(folder: Path, weights: Sequence[str]) -> None:
    """Lock folders outside of the run's: a run of another output folder would mix its weights with those of this one.

    One that is resumed has its weights there, which others refuse; what is given as its teachers may be shared.
    """
    try:
        for place in map(Path, weights):
            if not place.resolve().is_relative_to(folder.resolve()):
                hold(place, "folder for the weights", run=folder)
    except RefusedStart:
        release(folder)
        raise


def start_run(
    output_dir: str,
    resume: bool = False,
    save: bool = True,
    ckpt_dir: str | None = None,
    weights: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Claim the output folder (see :func:`claim_run`, whose arguments these are) and note the settings in it.

    A training notes them beside its weights as well, as ``model.json`` in ``ckpt_dir``: whoever uses the weights needs
    the sizes of their network. A resumed run keeps the settings that it began with, and notes below them how it went on
    and what was changed. ``facts`` are noted beside the settings: what inference has to know of the training's data.
    """
    redirection = logging_redirect_tqdm()
    redirection.__enter__()
    _REDIRECTIONS.append(redirection)
    claim_run(output_dir, resume, save, weights)
    if save:
        settings = running_settings()
        origin = {**_origin(settings), **(facts or {})}
        record = run_record(Path(output_dir)) if resume and "epochs" in settings else None
        if record is not None:
            changed = {name: now for name, (_, now) in changed_settings(record, settings).items()}
            origin = {**record, "resumed": [*record.get("resumed", []), {**origin, "settings": changed}]}
        for path in [Path(output_dir) / SETTINGS, *([Path(ckpt_dir) / "model.json"] if ckpt_dir else [])]:
            write_json(path, origin)


def evaluation_settings(checkpoint: str, section: str) -> dict[str, Any]:
    """What an evaluation's summary says of its origin: command, settings, versions, and the checkpoints by hash.

    Of a student of cross-fitted teachers it says what these score in fold and out of fold, by their record.

    Raises:
        RefusedStart: see :func:`~ckdmed.bundle.weights_hash.hash_of_weights`.
    """
    settings = running_settings()
    record = find_own_or_shipped(checkpoint)
    peer = settings.get("peer_checkpoint")
    taught = _teacher_scores(Path(checkpoint))
    return {
        **_origin(settings),
        **({} if peer is None else {"peer_sha256": sha256_of(peer)}),
        **({} if taught is None else {"teacher_scores": taught}),
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": hash_of_weights(checkpoint),
        "section": section,
        # None: it is unknown whether the training had other sections
        "section_record": None if record is None else str(record.path),
    }


def _teacher_scores(checkpoint: Path) -> dict[str, Any] | None:
    """What the cross-fitted teachers of a student score, with the place of their record; None where it has no such
    teachers, or the record is gone."""
    run = run_of(checkpoint)
    told = ((run_record(run) if run else None) or {}).get("settings", {})
    folds, given = told.get("teacher_folds"), told.get("teacher_checkpoint")
    if run is None or not isinstance(folds, int) or folds < 2 or told.get("method") == "supervised":
        return None
    # an inference calls this package too, and does without trainings
    from ckdmed.engines.teachers.folds import FOLDS_NAME, TeacherFolds

    record = Path(str(given)) if given else run / "teacher" / FOLDS_NAME
    # a teacher of the run may be scored as well
    if checkpoint.absolute().parent != weights_folder(run, told).absolute() or not record.is_file():
        return None
    return {"record": str(record), **TeacherFolds.read(record).scores}


def running_settings() -> dict[str, Any]:
    """The settings of the workflow that is running, see `settings_of`; none outside of one."""
    workflow = running_workflow()
    return {} if workflow is None else settings_of(workflow.parser)


def running_method_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the running workflow's method as they take effect, see `method_options`; none outside of one."""
    workflow = running_workflow()
    return {} if workflow is None else method_options(workflow.parser.get(), settings)


def _origin(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "command": typed_command(),
        "settings": dict(settings),
        "components": _components(settings),
        **({"method_options": options} if (options := running_method_options(settings)) else {}),
        "versions": {
            "ckdmed": __version__,
            "monai": monai.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _components(settings: Mapping[str, Any], also: Collection[str] = ()) -> dict[str, Any]:
    workflow = running_workflow()
    return {} if workflow is None else component_overrides(workflow, settings, also)


#: Names under which configurations hold what they read settings of: the record of a training, the sizes of a profile.
RECORDS = frozenset({"trained", "taught", "started", "sizes"})


def settings_of(parser: Any, without: Collection[str] = ()) -> dict[str, Any]:
    """The plain values at the top of a configuration, with expressions over such values evaluated.

    Nothing is built for it: an expression that refers to a component is no setting. Settings that are mappings, such as
    a teacher's options or a method of one's own, are given as they are written.

    Args:
        parser: of the configuration.
        without: settings to leave out, with all that refer to them, such as one that is just being evaluated.
    """
    config = {key: value for key, value in parser.get().items() if key not in without}
    settings: dict[str, Any] = {}
    table = settings_for(config)
    for key in config:
        if isinstance(config[key], Mapping) and key in table:
            if "_target_" not in config[key] or table[key].kind.is_function:
                settings[key] = dict(config[key])
            continue
        if key in NO_COMPONENTS | RECORDS or not is_plain(config, key):
            continue
        value = parser.get_parsed_content(key)
        try:
            json.dumps(value)
        except TypeError:
            value = str(value)
        settings[key] = value
    return settings


def finish_run(output_dir: str, save: bool = True, last: bool = False) -> None:
    """Give the folder free and say where everything is: one line for each artefact, and the folder last.

    Args:
        output_dir: of the run.
        save: False on every rank but one, which says nothing.
        last: the weights kept are those of the last epoch, not of the best (see `BestModel`).
    """
    if not save:
        return
    folder = Path(output_dir).resolve()
    release(folder)
    run_ends()
    told = {**ARTEFACTS, "models/model.pt": "weights of the last epoch"} if last else ARTEFACTS
    for name, what in told.items():
        if (folder / name).exists():
            logger.info(f"{name}: {what}")
    best = _best(folder / "metrics.jsonl")
    if best is not None and best[1] == 0:
        # a result like any other by its files; whoever goes on with it should know
        logger.warning(
            f"{best[0]} was 0 after every epoch: the network has learned nothing useful. Train longer (epochs), and "
            "look at predictions.png, which shows whether the labels lie where they should."
        )
    told_best = "" if last or best is None else f": best {best[0]} {best[1]:.4f} in epoch {best[2]}"
    logger.info(f"done{told_best}. Everything is in {folder}")


def _best(history: Path) -> tuple[str, float, int] | None:
    """Name, value and epoch of the best score of the validations; None where there was none."""
    if not history.is_file():
        return None
    rows = read_json_lines(history)
    scored = [(row["metrics"], row["epoch"]) for row in rows if row.get("metrics")]
    if not scored:
        return None
    key = next(iter(scored[0][0]))
    values = [(metrics[key], -epoch) for metrics, epoch in scored if not math.isnan(metrics.get(key, math.nan))]
    if not values:
        return None
    best, epoch = max(values)
    return key, best, -epoch
