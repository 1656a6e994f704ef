"""Whether the networks of a planned run can be built, before the first one is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ckdmed.bundle.effective_settings import reached
from ckdmed.bundle.errors import in_words, root_cause
from ckdmed.bundle.network_check import check_networks
from ckdmed.bundle.workflow import bundle_parser
from ckdmed.bundle_files import bundle_folder
from ckdmed.engines import load_network
from ckdmed.experiments.given_settings import check_bundle_settings, training_config
from ckdmed.experiments.plan import Run
from ckdmed.losses import DistillationLoss

__all__ = ["built_loss", "check_buildable"]


def check_buildable(
    planned: Sequence[tuple[Run, Mapping[str, Any]]], bundles: Path | None = None, undrawn: bool = False
) -> None:
    """Refuse runs that cannot begin, before the first one is trained; one run tells of all of its arm.

    Args:
        planned: runs with their settings.
        bundles, undrawn: see :func:`built_loss`.

    Raises:
        ValueError: names the arm and the cause.
    """
    for run, settings in {run.arm.name: (run, settings) for run, settings in planned}.values():
        try:
            built_loss(run.arm.bundle, settings, bundles, undrawn)
        except ValueError as error:
            raise ValueError(f"{run.arm.name}: {error}") from error


def built_loss(
    bundle: str,
    planned: Mapping[str, Any],
    bundles: Path | None = None,
    undrawn: bool = False,
    teacher: Path | None = None,
) -> tuple[DistillationLoss | None, Callable[[str], Any]]:
    """Build the networks of a run, and the loss over them where it distils; nothing is trained.

    A teacher is shown an empty image too: the sizes that one kind takes are not those of another, whose turn may come
    hours later.

    Args:
        bundle: name of the bundle that trains it.
        planned: all settings of the run.
        bundles: folder of the bundles, see ``bundle_folder``.
        undrawn: the data are phantoms that are not there yet.
        teacher: weights that have to fit the teacher of a student; None where they are trained later.

    Returns:
        the loss, None of a bundle of teachers, and what gives other parts of the run by their names.

    Raises:
        ValueError: the run cannot begin, with the cause.
    """
    config = training_config(bundle, bundles)
    # weights of classes are counted in the data
    without = {"label_weights": None} if undrawn and "label_weights" in config else {}
    parser = bundle_parser(bundle_folder(bundle, bundles), {**planned, **without})
    get = parser.get_parsed_content
    try:
        check_bundle_settings(bundle, planned, bundles)
        _check_together(parser)
        if "distillation_loss" not in config:
            check_networks([1, *get("input_shape")[1:]], teacher=get("network_def"))
            return None, get
        if teacher is not None:
            load_network(get("teacher_def"), str(teacher))
        # a loss without projections asks for no network
        student = get("network_def")
        if "teacher_ensemble" in config:
            check_networks([1, *get("student_shape")[1:]], student=student)
            teachers = get("teacher_ensemble")
            # what stands for teachers of a student alone has no weights
            if any(True for _ in teachers.parameters()):
                check_networks([1, *get("input_shape")[1:]], teachers=teachers)
        loss: DistillationLoss = get("distillation_loss")
        if "teacher_images" in config:
            get("teacher_images").check()
    except Exception as error:
        # a network of which an option has another name raises a TypeError
        if not isinstance(root_cause(error), (ValueError, TypeError)):
            raise
        raise ValueError(in_words(root_cause(error))) from error
    return loss, get


def _check_together(parser: ConfigParser) -> None:
    """What a run of the bundle refuses of settings together as it begins; what asks for the data is left to the run."""
    config = parser.get()
    # the loss is built for the run in any case, and may count classes in the data
    beside = {name: content for name, content in config.items() if name != "distillation_loss"}
    # a check of a loss over classes begins the run: it may read the data, which a mere initialisation does not draw
    steps = [(f"{part}::{number}", step) for part in ("initialize", "run") for number, step in enumerate(config[part])]
    for name, step in steps:
        if "ckdmed.recipes.check_" in json.dumps(step) and "sections" not in reached(beside, [name]):
            parser.get_parsed_content(name)
