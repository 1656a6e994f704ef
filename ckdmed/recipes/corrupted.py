"""An evaluation of corrupted images."""

from __future__ import annotations

from monai.transforms import Compose
from monai.utils import CommonKeys

from ckdmed.transforms.corruption import Corruptiond

__all__ = ["check_corruption", "corrupted"]

#: What only reads an item or chooses from it; by name, to leave alone what an exported inference need not import.
_READING = ("LoadImaged", "LoadSliced", "EnsureChannelFirstd", "SelectModalitiesd")
_READING_TOO = ("CaseLabelsToRegionsd",)
_CUT = "LoadCachedSliced"
_SCALED_ALREADY = (
    "corruption {corruption} cannot be made: slices that are cut out of cases come from a cache of volumes that are "
    "scaled to [0, 1] already, and an image is made worse before anything else is done to it. Leave corruption out, or "
    "score a copy of the cases whose volumes were made worse, as a dataset_dir with a cache_dir of its own."
)


def check_corruption(task: str, corruption: str | None) -> None:
    """Refuse, before an evaluation reads or writes anything, a corruption that `corrupted` would refuse.

    Args:
        task: of a classification bundle; all but "figshare" read slices out of a cache.
        corruption: of its evaluation.

    Raises:
        ValueError: a corruption of such a task.
    """
    if corruption is not None and task != "figshare":
        raise ValueError(f"task {task}: " + _SCALED_ALREADY.format(corruption=corruption))


def corrupted(preprocessing: Compose, corruption: str | None) -> Compose:
    """The preprocessing of an evaluation with images that are worse, before anything is done to them.

    The steps are the same objects, so that masks are brought back as without it.

    Args:
        preprocessing: begins with what reads an item.
        corruption: see :class:`~ckdmed.transforms.corruption.Corruptiond`; None for the images as they are.

    Raises:
        ValueError: slices out of a cache, whose intensities are scaled already; as ``Corruptiond``.
    """
    if corruption is None:
        return preprocessing
    steps = list(preprocessing.flatten().transforms)
    names = [type(step).__name__ for step in steps]
    if _CUT in names:
        raise ValueError(_SCALED_ALREADY.format(corruption=corruption))
    position = next((i for i, name in enumerate(names) if name not in (*_READING, *_READING_TOO)), len(steps))
    return Compose([*steps[:position], Corruptiond(CommonKeys.IMAGE, corruption), *steps[position:]])
