"""The line that installs a package which a command lacks."""

from __future__ import annotations

import sys
from importlib import metadata

__all__ = ["install_command"]

# Packages that are imported by another name than they are installed by.
_DISTRIBUTIONS = {"PIL": "pillow", "ignite": "pytorch-ignite", "skimage": "scikit-image", "yaml": "PyYAML"}
# extras of developers, which hold packages of the others too
_DEVELOPERS = frozenset(("dev", "test", "docs"))


def install_command(package: str) -> str:
    """The command that installs a package: by its extra, where ckdmed has it in one that users install.

    Args:
        package: the name it is imported by, such as "skimage".
    """
    distribution = _DISTRIBUTIONS.get(package, package)
    extra = _extra_of(distribution)
    what = f"'ckdmed[{extra}]'" if extra else distribution
    return f"{sys.executable} -m pip install {what}"


def _extra_of(distribution: str) -> str | None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    wanted = canonicalize_name(distribution)
    try:
        extras = metadata.metadata("ckdmed").get_all("Provides-Extra") or []
        requirements = [Requirement(text) for text in metadata.requires("ckdmed") or []]
    except metadata.PackageNotFoundError:
        # run from a checkout that is not installed
        return None
    named = [each for each in requirements if canonicalize_name(each.name) == wanted and each.marker is not None]
    for extra in extras:
        if extra not in _DEVELOPERS and any(each.marker.evaluate({"extra": extra}) for each in named if each.marker):
            return extra
    return None
