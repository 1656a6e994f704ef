"""What a bundle is made of, and where the bundles of this package lie.

Imports nothing but the standard library: ``setup.py`` reads this file when it builds a wheel.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = [
    "BUNDLE_WEIGHTS",
    "INSTALLED",
    "bundle_configs",
    "bundle_files",
    "bundle_folder",
    "bundle_names",
    "bundle_root",
    "bundles_folder",
    "is_installed",
    "named_bundle",
    "weights_in",
]

#: Where a bundle keeps the weights of its network, one of these.
BUNDLE_WEIGHTS = ("models/model.pt", "models/model.safetensors")
#: Folder of the bundles in an installed package.
INSTALLED = "installed_bundles"
# what runs and exports leave beside these is no part of the bundle
_FILES = ("*.json", "logging.conf", "LICENSE", "docs/*")
_WEIGHTS = "models/*.pt"
# beside weights: the record without which they are none of the bundle's, and what their training inputs were like
_RECORD, _INPUTS = ".json", ".inputs.json"
# where a bundle in the layout of the Model Zoo has its configuration
_ZOO_CONFIGS = "configs"

_PACKAGE = Path(__file__).resolve().parent


def weights_in(place: Path) -> Path:
    """The file of the weights in the folder of a bundle; any other path as it is."""
    return next((place / name for name in BUNDLE_WEIGHTS if (place / name).is_file()), place)


def bundles_folder() -> Path:
    """The bundles that belong to this package: inside it where it was installed, beside it in a checkout."""
    inside = _PACKAGE / INSTALLED
    return inside if inside.is_dir() else _PACKAGE.parent / "bundles"


def is_installed(folder: Path) -> bool:
    """Whether a folder lies among the installed bundles, where no run may write."""
    return folder.resolve().is_relative_to(_PACKAGE / INSTALLED)


def bundle_names(root: Path) -> list[str]:
    """Names of the bundles in a folder of bundles."""
    return sorted(path.parent.name for path in root.glob("*/metadata.json"))


def bundle_files(folder: Path) -> list[Path]:
    """The files of a bundle, relative to its folder: configurations, documents, and weights that have a record.

    Args:
        folder: of the bundle.
    """
    own = [path for name in _FILES for path in sorted(folder.glob(name))]
    for weights in sorted(folder.glob(_WEIGHTS)):
        if weights.with_suffix(_RECORD).is_file():
            own += [weights.with_suffix(_RECORD), weights, weights.with_suffix(_INPUTS)]
    return [path.relative_to(folder) for path in own if path.is_file()]


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


def bundle_configs(bundle: str) -> Path:
    """The folder of a bundle's configuration files, by the bundle's folder or name, see :func:`bundle_folder`.

    That of a bundle in the layout of the Model Zoo is its ``configs``.
    """
    inside = Path(bundle) / _ZOO_CONFIGS
    return inside if (inside / "train.json").is_file() else named_bundle(bundle)


def bundle_root(configs: Path) -> Path:
    """The folder of the bundle, with ``models`` and its name, that a folder of :func:`bundle_configs` belongs to."""
    return configs.resolve().parent if configs.name == _ZOO_CONFIGS else configs
