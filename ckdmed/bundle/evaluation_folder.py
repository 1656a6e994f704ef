"""Where an evaluation writes: with the run of its checkpoint, and over no other evaluation."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from ckdmed.bundle.run_folder import SETTINGS, from_rank_0, holds_run
from ckdmed.bundle.strict import running_workflow

__all__ = ["evaluation_folder"]

logger = logging.getLogger("ckdmed")

_SUMMARY = "summary.json"
# weights of a run lie in a folder of its output folder, or one further below
_FOLDERS_UP = 3


def evaluation_folder(output_dir: str, checkpoint: str, **settings: Any) -> str:
    """The folder of an evaluation that was given no ``evaluation_dir``.

    It is ``evaluation`` in the output folder of the run that made the checkpoint, whichever run is the latest. For a
    checkpoint that no run holds, such as one that ships with a bundle, it is ``evaluation-NAME`` beside the latest run.
    An ``output_dir`` that was given goes before both. A folder that holds another evaluation, by its checkpoint or
    settings, is left alone: ``evaluation-2`` and so on are then taken. All processes of a distributed run get the
    answer of the first one.

    Args:
        output_dir: of the latest run, or as given.
        checkpoint: what is scored.
        settings: what results depend on, such as section, dataset_dir, tta.
    """
    folder = from_rank_0(lambda: str(_free(_base(output_dir, Path(checkpoint)), checkpoint, settings)))
    if running_workflow() is not None:
        logger.info(f"the evaluation goes into {folder}")
    return folder


def _base(output_dir: str, checkpoint: Path) -> Path:
    workflow = running_workflow()
    given = workflow is None or not str(workflow.parser.get("output_dir")).startswith("$")
    if given or _within(checkpoint, Path(output_dir)):
        return Path(output_dir) / "evaluation"
    for folder in list(checkpoint.absolute().parents)[:_FOLDERS_UP]:
        if (folder / SETTINGS).is_file() and holds_run(folder):
            return folder / "evaluation"
    return Path(output_dir).parent / f"evaluation-{checkpoint.stem}"


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _free(base: Path, checkpoint: str, settings: dict[str, Any]) -> Path:
    """``base``, or the first of ``base-2``, ``base-3`` ... that holds nothing or this very evaluation."""
    number = 1
    while True:
        folder = base if number == 1 else base.with_name(f"{base.name}-{number}")
        if not folder.exists() or not any(folder.iterdir()) or _is_same(folder / _SUMMARY, checkpoint, settings):
            return folder
        number += 1


def _is_same(summary: Path, checkpoint: str, settings: dict[str, Any]) -> bool:
    if not summary.is_file():
        # one that was stopped
        return True
    try:
        record = json.loads(summary.read_text(encoding="utf-8"))["settings"]
        known = {"section": record["section"], **record["settings"]}
        plain = json.loads(json.dumps(settings, default=str))
        same = record["checkpoint_sha256"] == hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
        return same and all(known.get(name) == value for name, value in plain.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
