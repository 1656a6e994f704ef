"""Running a bundle from Python as its command line would, without a second copy of its training code."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from ckdmed.bundle.run import settings_of
from ckdmed.bundle.setting_check import as_written
from ckdmed.bundle_files import bundle_folder

__all__ = ["bundle_folder", "bundle_parser", "bundle_settings", "bundle_workflow"]


def bundle_workflow(
    folder: str | os.PathLike[str], overrides: Mapping[str, Any], configs: Sequence[str] = ("train.json",)
) -> ConfigWorkflow:
    """MONAI's workflow over a bundle's files, not yet initialised.

    Args:
        folder: of the bundle.
        overrides: settings, as after ``--`` on the command line; a ``#`` in a path stays one.
        configs: the files, later ones over earlier ones.
    """
    files = [str(Path(folder) / name) for name in configs]
    workflow = ConfigWorkflow(
        config_file=files[0] if len(files) == 1 else files,
        meta_file=None,
        logging_file=str(Path(folder) / "logging.conf"),
        workflow_type="train",
        **{name: as_written(value) for name, value in overrides.items()},
    )
    # MONAI does not keep them, and the record of the run needs those inside components
    setattr(workflow, "given", tuple(overrides))
    return workflow


def bundle_parser(
    folder: str | os.PathLike[str], overrides: Mapping[str, Any], config: str = "train.json"
) -> ConfigParser:
    """The parsed configuration of a bundle's training, to ask for single parts of it; the log stays as it is.

    Args:
        folder, overrides: of :func:`bundle_workflow`.
        config: another of the bundle's files.
    """
    parser = ConfigParser()
    parser.read_config(str(Path(folder) / config))
    for name, value in overrides.items():
        parser[name] = as_written(value)
    parser.parse(reset=True)
    return parser


def bundle_settings(name: str, **overrides: Any) -> dict[str, Any]:
    """The settings of a bundle's ``train.json`` with ``overrides``, expressions evaluated; nothing is built or read."""
    parser = ConfigParser()
    parser.read_config(str(bundle_folder(name) / "train.json"))
    for key, value in overrides.items():
        parser[key] = value
    return settings_of(parser)
