"""Where an evaluation writes: with the run of its checkpoint, and over no other evaluation."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.reference_resolver import ReferenceResolver

from ckdmed.bundle.component_overrides import component_overrides
from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.resume_check import MAY_CHANGE, changed_components, changed_settings
from ckdmed.bundle.run import settings_of
from ckdmed.bundle.run_folder import SETTINGS, from_rank_0, holds_run
from ckdmed.bundle.run_lock import hold, in_use
from ckdmed.bundle.running import running_workflow
from ckdmed.bundle.setting_check import is_code, text_of
from ckdmed.bundle.settings_table import FOLLOWS
from ckdmed.bundle.typed_settings import typed_settings
from ckdmed.file_hash import sha256_of
from ckdmed.json_files import read_json

__all__ = ["check_evaluation_folder", "evaluation_folder"]

logger = logging.getLogger("ckdmed")

_SUMMARY = "summary.json"
_CONFIGS = ("train.json", "evaluate.json")
# where things lie and how they are computed; checkpoints are compared by their contents
_NO_MATTER = (MAY_CHANGE - {"dataset_dir"}) | {"batch_size", "checkpoint", "peer_checkpoint", "teacher_file"}


def evaluation_folder(output_dir: str, checkpoint: str, **settings: Any) -> str:
    """The folder of an evaluation that was given no ``evaluation_dir``.

    It is ``evaluation`` in the output folder of its run, see `ckdmed.bundle.output_folder`. For a checkpoint that no
    run holds, such as one that ships with a bundle, it is ``evaluation-NAME`` beside the latest run. An ``output_dir``
    that was given goes before both. A folder that holds another evaluation, by its checkpoint or settings, is left
    alone: ``evaluation-2`` and so on are then taken. An evaluation from before there was a setting had its default. All
    processes of a distributed run get the choice of the first one.

    Args:
        output_dir: of the run, or as given.
        checkpoint: what is scored.
        settings: what results depend on beside the settings of the bundle that is running.
    """
    base, made_with = _base(output_dir, Path(checkpoint)), _made_with(settings)
    folder = from_rank_0(lambda: str(_free(base, checkpoint, *made_with)))
    if running_workflow() is not None:
        logger.info(f"the evaluation is written to {folder}")
    return folder


def check_evaluation_folder(folder: str, checkpoint: str, **settings: Any) -> None:
    """Refuse a folder, as it was given on the command line, in which this evaluation would replace something else.

    Until its process ends no other evaluation begins there, which would replace the results of this one. A program that
    gives a folder keeps account of its folders itself.

    Args:
        folder: of the results.
        checkpoint, settings: see `evaluation_folder`.

    Raises:
        RefusedStart: the folder holds another evaluation, by its checkpoint or settings, or a training; or another
            process is evaluating into it.
    """
    if not typed_settings():
        return
    held = None
    # a classifier's training has pictures of the same names
    if (Path(folder) / SETTINGS).is_file() and holds_run(Path(folder)):
        held = "a training"
    elif not _is_same(Path(folder) / _SUMMARY, checkpoint, *_made_with(settings)):
        held = "an evaluation with another checkpoint or other settings"
    if held is not None:
        raise RefusedStart(
            f"'{folder}' holds {held}, which is not overwritten: give another evaluation_dir, or leave it out to have "
            "a free folder chosen."
        )
    hold(Path(folder), "evaluation_dir")


def _made_with(settings: Mapping[str, Any]) -> tuple[dict[str, Any], Collection[str], dict[str, Any]]:
    """All settings of the evaluation that is running, those that are not by default, and entries of components."""
    workflow = running_workflow()
    if workflow is None:
        return dict(settings), (), {}
    settings = {**settings_of(workflow.parser, without=["evaluation_dir"]), **settings}
    return settings, _not_by_default(workflow, settings), component_overrides(workflow, settings)


def _base(output_dir: str, checkpoint: Path) -> Path:
    workflow = running_workflow()
    given = workflow is None or not is_code(text_of(workflow.parser.get("output_dir")))
    if given or _within(checkpoint, Path(output_dir)):
        return Path(output_dir) / "evaluation"
    return Path(output_dir).parent / f"evaluation-{checkpoint.stem}"


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _not_by_default(workflow: ConfigWorkflow, names: Collection[str]) -> set[str]:
    """Settings that are not as the bundle's own files have them."""
    files = [path for name in _CONFIGS if (path := workflow.config_root_path / name).is_file()]
    written = {key: value for path in files for key, value in ConfigParser.load_config_file(str(path)).items()}
    now = workflow.parser.get()
    return {
        name for name in names if name not in FOLLOWS and _normalised(now.get(name)) != _normalised(written.get(name))
    }


def _normalised(value: Any) -> Any:
    """As a parser has it, which writes the ids in texts in one way."""
    return ReferenceResolver.normalize_id(value) if isinstance(value, str) else value


def _free(
    base: Path, checkpoint: str, settings: dict[str, Any], given: Collection[str], components: dict[str, Any]
) -> Path:
    """``base``, or the first of ``base-2``, ``base-3`` ... that holds nothing or this very evaluation.

    One that another process is filling is passed over: nothing tells yet what it will hold.
    """
    number = 1
    while True:
        folder = base if number == 1 else base.with_name(f"{base.name}-{number}")
        if not folder.exists() or not any(folder.iterdir()):
            return folder
        if not in_use(folder, by_others=True) and _is_same(folder / _SUMMARY, checkpoint, settings, given, components):
            return folder
        number += 1


def _is_same(
    summary: Path, checkpoint: str, settings: dict[str, Any], given: Collection[str], components: dict[str, Any]
) -> bool:
    if not summary.is_file():
        # one that was stopped
        return True
    try:
        record = read_json(summary)["settings"]
        known = {"section": record["section"], **record["settings"]}
        changed = {*changed_settings({"settings": known}, settings), *(set(given) - known.keys())}
        changed |= {name.split("#")[-1] for name in changed_components(record, components)}
        same = record["checkpoint_sha256"] == sha256_of(checkpoint)
        return same and _same_peer(record, settings) and not changed - _NO_MATTER
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _same_peer(record: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    then, now = (found.get("peer_checkpoint") for found in (record["settings"], settings))
    # the path alone tells of an evaluation from before the contents were noted
    if then is None or now is None or "peer_sha256" not in record:
        return bool(then == now)
    return bool(record["peer_sha256"] == sha256_of(now))
