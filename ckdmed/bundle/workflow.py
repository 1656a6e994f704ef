"""Running a bundle from Python as its command line would, without a second copy of its training code."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from ckdmed.bundle.bundle_files import bundle_names, bundles_folder
from ckdmed.bundle.run import settings_of
from ckdmed.bundle.setting_check import as_written

__all__ = ["bundle_folder", "bundle_settings", "bundle_workflow", "named_bundle"]


def bundle_folder(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a bundle by its name.

    Args:
        name: "seg_kd", "seg_teacher" ...
        root: the folder of the bundles; by default ``bundles`` of the working directory, else those of this package.

    Raises:
        ValueError: no such folder, with the places that were looked at.
    """
    places = [Path(root)] if root is not None else [Path("bundles"), bundles_folder()]
    for place in places:
        if (place / name / "train.json").is_file():
            return (place / name).resolve()
    looked = ", ".join(str(place / name) for place in places)
    known = ", ".join(bundle_names(places[-1])) or "none"
    raise ValueError(f"there is no bundle '{name}' (looked for {looked}); the bundles in {places[-1]} are: {known}.")


def named_bundle(bundle: str) -> Path:
    """The folder of a bundle that is given by its folder or by its name, see :func:`bundle_folder`."""
    return Path(bundle) if (Path(bundle) / "train.json").is_file() else bundle_folder(bundle)


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
    return ConfigWorkflow(
        config_file=files[0] if len(files) == 1 else files,
        meta_file=None,
        logging_file=str(Path(folder) / "logging.conf"),
        workflow_type="train",
        **{name: as_written(value) for name, value in overrides.items()},
    )


def bundle_settings(name: str, **overrides: Any) -> dict[str, Any]:
    """The settings of a bundle's ``train.json`` with ``overrides``, expressions evaluated; nothing is built or read."""
    parser = ConfigParser()
    parser.read_config(str(bundle_folder(name) / "train.json"))
    for key, value in overrides.items():
        parser[key] = value
    return settings_of(parser)
