"""An evaluation of corrupted images."""

from __future__ import annotations

from monai.transforms import Compose
from monai.utils import CommonKeys

from ckdmed.transforms.corruption import Corruptiond

__all__ = ["corrupted"]

#: What only reads an item or chooses from it; by name, to leave alone what an exported inference need not import.
_READING = ("LoadImaged", "LoadSliced", "LoadCachedSliced", "EnsureChannelFirstd", "SelectModalitiesd")
_READING_TOO = ("CaseLabelsToRegionsd",)


def corrupted(preprocessing: Compose, corruption: str | None) -> Compose:
    """The preprocessing of an evaluation with images that are worse, before anything is done to them.

    The steps are the same objects, so that masks are brought back as without it.

    Args:
        preprocessing: begins with what reads an item.
        corruption: see :class:`~ckdmed.transforms.corruption.Corruptiond`; None for the images as they are.

    Raises:
        ValueError: as ``Corruptiond``.
    """
    if corruption is None:
        return preprocessing
    steps = list(preprocessing.flatten().transforms)
    names = [type(step).__name__ for step in steps]
    position = next((i for i, name in enumerate(names) if name not in (*_READING, *_READING_TOO)), len(steps))
    return Compose([*steps[:position], Corruptiond(CommonKeys.IMAGE, corruption), *steps[position:]])
