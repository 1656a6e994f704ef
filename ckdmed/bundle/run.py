"""What every bundle does when a run begins and when it ends."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from monai.bundle.reference_resolver import ReferenceResolver
from tqdm.contrib.logging import logging_redirect_tqdm

from ckdmed import __version__
from ckdmed.bundle.section_record import find_record
from ckdmed.bundle.strict import running_workflow
from ckdmed.bundle.typed_command import typed_command
from ckdmed.files import write_json

__all__ = ["evaluation_settings", "finish_run", "settings_of", "start_run"]

logger = logging.getLogger("ckdmed")

# Lines of the log go above a progress bar instead of into it, for the rest of the process. A context that nothing holds
# is collected, and would end at once.
_REDIRECTIONS: list[AbstractContextManager[None]] = []

# what a training leaves, with what it is; in the order in which the last lines of a run name it
ARTEFACTS = {
    "models/model.pt": "weights of the student that validated best",
    "metrics.jsonl": "loss terms and metrics of every epoch",
    "curves.png": "the same as a picture",
    "predictions.png": "truth and prediction over validation slices",
    "tensorboard": "TensorBoard logs",
    "settings.json": "the settings of the run",
    "sections.json": "the patients of each section, by which its weights are scored later",
}


def start_run(output_dir: str, resume: bool = False, save: bool = True) -> None:
    """Make the output folder, clear what an earlier run left there unless it is resumed, and note the settings.

    Args:
        output_dir: of the run; phantoms and files of others in it stay.
        resume: keep everything.
        save: False on every rank but one.
    """
    redirection = logging_redirect_tqdm()
    redirection.__enter__()
    _REDIRECTIONS.append(redirection)
    if not save:
        # rank 0 speaks for all; what goes wrong on another rank is still heard
        logging.getLogger().setLevel(logging.WARNING)
        return
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if not resume:
        for name in ARTEFACTS:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    workflow = running_workflow()
    settings = {} if workflow is None else settings_of(workflow.parser)
    write_json(folder / "settings.json", _origin(settings))


def evaluation_settings(checkpoint: str, section: str) -> dict[str, Any]:
    """What an evaluation's summary says of its origin: command, settings, versions, and the checkpoint by hash."""
    workflow = running_workflow()
    record = find_record(checkpoint)
    return {
        **_origin({} if workflow is None else settings_of(workflow.parser)),
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest(),
        "section": section,
        # None: nobody knows whether the training had other sections
        "section_record": None if record is None else str(record.path),
    }


def _origin(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "command": typed_command(),
        "settings": dict(settings),
        "versions": {
            "ckdmed": __version__,
            "monai": monai.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def settings_of(parser: Any) -> dict[str, Any]:
    """The plain values at the top of a configuration, with expressions over such values evaluated.

    Nothing is built for it: an expression that refers to a component is no setting.
    """
    config = parser.get()
    settings = {}
    for key in config:
        if key in ("imports", "initialize", "run", "finalize", "_meta_") or not _is_plain(config, key):
            continue
        value = parser.get_parsed_content(key)
        try:
            json.dumps(value)
        except TypeError:
            value = str(value)
        settings[key] = value
    return settings


def _is_plain(config: Mapping[str, Any], key: str) -> bool:
    raw = config.get(key)
    if isinstance(raw, Mapping):
        return False
    texts = raw if isinstance(raw, list) else [raw]
    references = {r for text in texts if isinstance(text, str) for r in ReferenceResolver.match_refs_pattern(text)}
    return all(r != key and r in config and _is_plain(config, r) for r in references)


def finish_run(output_dir: str, save: bool = True, last: bool = False) -> None:
    """Say where everything is: one line for each artefact, and the folder last.

    Args:
        output_dir: of the run.
        save: False on every rank but one, which says nothing.
        last: the weights kept are those of the last epoch, not of the best (see `BestModel`).
    """
    if not save:
        return
    folder = Path(output_dir).resolve()
    told = {**ARTEFACTS, "models/model.pt": "weights of the student's last epoch"} if last else ARTEFACTS
    for name, what in told.items():
        if (folder / name).exists():
            logger.info(f"{name}: {what}")
    best = "" if last else _best(folder / "metrics.jsonl")
    logger.info(f"done{best}. Everything is in {folder}")


def _best(history: Path) -> str:
    if not history.is_file():
        return ""
    rows = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    scored = [(row["metrics"], row["epoch"]) for row in rows if row.get("metrics")]
    if not scored:
        return ""
    key = next(iter(scored[0][0]))
    values = [(metrics[key], -epoch) for metrics, epoch in scored if not math.isnan(metrics.get(key, math.nan))]
    if not values:
        return ""
    best, epoch = max(values)
    return f": best {key} {best:.4f} in epoch {-epoch}"
