"""MONAI's experiment tracking (``--tracking mlflow``), made to fit these bundles."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.utils import CommonKeys

from ckdmed.bundle.effective_settings import strings
from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.processes import is_first_process
from ckdmed.bundle.running import running_workflow
from ckdmed.files import write_json

__all__ = [
    "adapt_tracking",
    "check_tracking",
    "tracked_configuration",
    "tracked_loss",
    "tracked_run_name",
    "tracked_settings",
]

_HANDLER = "MLFlowHandler"
# where MONAI adds its handler
_TRAINING, _VALIDATION, _INFERENCE = "train::handlers", "validate::handlers", "handlers"
_CONFIG_NAME = re.compile(r"(config_\d{8}_\d{6}\.json)'$")
# what a run leaves for others to see; sections.json names patients and pictures show them, so they stay
_ARTEFACTS = ("settings.json", "metrics.jsonl", "curves.png")
# MLflow's limit of a parameter's value, in letters
_LONGEST = 6000


def adapt_tracking(parser: ConfigParser, run_id: str = "run") -> None:
    """Make the handlers that MONAI added for ``--tracking`` work with what the bundle's engines give.

    MONAI expects a list of decollated outputs, picks the latest unfinished run of the experiment whoever made it, loses
    the settings, and leaves the run of an evaluation open. Here the loss is read from a batch's output as well, each
    output folder has a run name of its own (a resumed run goes on in its run), the settings become parameters, the
    history and its curves artefacts, and the last engine closes the run. Without tracking nothing is changed.

    MONAI would also write the configuration into the output folder as it makes the workflow, before any setting is
    checked. The bundles say no to that by their ``save_execute_config``, and it is written when all is checked, see
    `tracked_configuration`.

    Args:
        parser: of the bundle, changed in place.
        run_id: the list that the workflow runs.

    Raises:
        RefusedStart: MLflow is not installed, or the place of the runs is a folder, which it no longer takes; else that
            would come up after the teacher's training.
    """
    found = {place: _handlers(parser, place) for place in (_TRAINING, _VALIDATION, _INFERENCE)}
    if not any(found.values()):
        return
    check_tracking(parser.get("tracking_uri"))
    if parser.get("run_name") is None:
        parser["run_name"] = "$ckdmed.bundle.tracking.tracked_run_name(@output_dir)"
    trains = any("train#trainer" in text or "train::trainer" in text for text in strings(parser.get(run_id)))
    artefacts = _artefacts(parser)
    for place, ids in found.items():
        last = place != _VALIDATION or not trains
        for id_ in ids:
            parser[f"{id_}::experiment_param"] = "$ckdmed.bundle.tracking.tracked_settings()"
            if place == _TRAINING:
                parser[f"{id_}::output_transform"] = "$ckdmed.bundle.tracking.tracked_loss"
            if last:
                parser[f"{id_}::artifacts"] = artefacts
                parser[f"{id_}::close_on_complete"] = True
    if "$import ckdmed.bundle.tracking" not in (imports := list(parser.get("imports") or [])):
        parser["imports"] = [*imports, "$import ckdmed.bundle.tracking"]


def check_tracking(tracking_uri: object = None) -> None:
    """Refuse ``--tracking mlflow`` where it cannot be.

    Args:
        tracking_uri: the place of the runs, as it was given; an expression is left to MONAI.

    Raises:
        RefusedStart: see `adapt_tracking`.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise RefusedStart(
            "--tracking mlflow needs the package mlflow, which is not installed: pip install 'ckdmed[tracking]'"
        )
    place = os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri
    if isinstance(place, str) and not place.startswith("$") and (place.startswith("file:") or "://" not in place):
        raise RefusedStart(
            f"tracking_uri is {place!r}, a folder, in which MLflow no longer keeps runs; give a database "
            "(sqlite:///FOLDER/mlruns.db) or the address of a server."
        )


def tracked_configuration(output_dir: str) -> str:
    """Write the configuration of the running workflow, with all settings, into the output folder; returns the file.

    The first process writes for all.
    """
    path = Path(output_dir) / time.strftime("config_%Y%m%d_%H%M%S.json")
    workflow = running_workflow()
    if workflow is not None and is_first_process():
        write_json(path, workflow.parser.get())
    return str(path)


def tracked_loss(output: Any) -> float:
    """The loss of a training step, from the output of a batch or from the list of its decollated parts."""
    first = output[0] if isinstance(output, list) else output
    return float(first[CommonKeys.LOSS].detach().mean())


def tracked_run_name(output_dir: str) -> str:
    """The name of a run in MLflow: that of its output folder, with letters that tell it from others of the name."""
    place = Path(output_dir).absolute()
    return f"{place.name}-{hashlib.sha256(str(place).encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def tracked_settings() -> dict[str, str]:
    """The settings of the running workflow, with all options of its method, as MLflow takes parameters."""
    from ckdmed.bundle.run import running_method_options, running_settings

    settings = running_settings()
    settings |= running_method_options(settings)
    return {name: str(value)[:_LONGEST] for name, value in settings.items()}


def _handlers(parser: ConfigParser, place: str) -> list[str]:
    """Ids of the handlers that were added at a place."""
    handlers = parser.get(place)
    if not isinstance(handlers, list):
        return []
    return [
        f"{place}::{number}"
        for number, handler in enumerate(handlers)
        if isinstance(handler, Mapping) and handler.get("_target_") == _HANDLER
    ]


def _artefacts(parser: ConfigParser) -> str:
    """An expression of the files that a run's end adds, the configuration among them."""
    given = parser.get("save_execute_config")
    # MONAI's own expression for the file that it has written, where somebody asked for it, is no path
    if isinstance(given, str) and (match := _CONFIG_NAME.search(given)):
        parser["save_execute_config"] = f"$@output_dir + '/{match[1]}'"
    config = "@save_execute_config" if given else "ckdmed.bundle.tracking.tracked_configuration(@output_dir)"
    return f"$[@output_dir + '/' + name for name in {_ARTEFACTS!r}] + [{config}]"
