"""The grid that a bundle's network was made for, where the student's images are not brought to it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ckdmed.zoo_teacher.bundle_layout import ZooBundle
from ckdmed.zoo_teacher.intensities import preprocessing_steps

__all__ = ["warn_of_other_grids"]

logger = logging.getLogger(__name__)

# steps that turn images or change their grid, and the argument that says how
_GRID_STEPS = {"Orientationd": "axcodes", "Spacingd": "pixdim", "Resized": "spatial_size"}
# as `ckdmed.recipes.region_preprocessing` turns them
_VOLUMES_LIE = "RAS"
_OWN_SIZE = "image_size"


def warn_of_other_grids(opened: ZooBundle, size: Sequence[int]) -> None:
    """Warn of a preprocessing that turns images or changes their grid: the student's images are not brought there.

    Slices are resized to the student's ``image_size``, so a bundle that resizes them to the same size needs no warning.

    Args:
        opened: the bundle.
        size: spatial size of the student's images.
    """
    found = []
    for name, step in preprocessing_steps(opened):
        argument = _GRID_STEPS.get(name)
        what = None if argument is None else _value(opened, step.get(argument))
        if what is not None and not _is_ours(name, what, size):
            found.append(f"{name} {argument}={what}")
    own = opened.parser.get().get(_OWN_SIZE)
    if len(size) == 2 and isinstance(own, int) and not _is_size(own, size):
        # a bundle of this package
        found.append(f"{_OWN_SIZE}={own}")
    if found:
        seen = (
            f"volumes that lie {_VOLUMES_LIE} on their own grid"
            if len(size) == 3
            else f"slices of {' x '.join(map(str, size))} pixels"
        )
        logger.warning(
            f"the network of '{opened.folder}' was made for images preprocessed with {', '.join(found)}; it sees the "
            f"student's, {seen}. Compare its score with the student's before you trust what it teaches."
        )


def _value(opened: ZooBundle, argument: Any) -> Any:
    """What is written, and for a reference to another entry what stands there."""
    if isinstance(argument, str) and argument.startswith("@"):
        return opened.parser.get().get(argument[1:], argument)
    return argument


def _is_ours(name: str, what: Any, size: Sequence[int]) -> bool:
    """Whether the student's images are like that as well."""
    if len(size) == 3:
        return name == "Orientationd" and what == _VOLUMES_LIE
    return name == "Resized" and _is_size(what, size)


def _is_size(what: Any, size: Sequence[int]) -> bool:
    return list(what if isinstance(what, (list, tuple)) else [what] * len(size)) == list(size)
