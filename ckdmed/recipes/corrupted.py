"""An evaluation of corrupted images."""

from __future__ import annotations

from monai.transforms import Compose
from monai.utils import CommonKeys

from ckdmed.transforms.corruption import Corruptiond

__all__ = ["check_corruption", "corrupted"]

# by name, to leave alone what an exported inference need not import: what reads an item, and what only chooses from it
_READING = ("LoadImaged", "LoadSliced")
_CHOOSING = ("EnsureChannelFirstd", "SelectModalitiesd", "CaseLabelsToRegionsd")
_CUT = "LoadCachedSliced"
_SCALED_ALREADY = (
    "corruption {corruption} cannot be made: slices of cases come from a cache of volumes that are already scaled to "
    "[0, 1], but an image is corrupted before anything else is done to it. Leave corruption out, or score a copy of "
    "the cases with corrupted volumes, as a dataset_dir with its own cache_dir."
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

    The steps are the same objects, so that masks are brought back as without it. An image of another size that is made
    for a teacher before the item is read, see :class:`~ckdmed.transforms.TeacherImaged`, stays as it is: it is there
    for a training, and no evaluation shows it to a network.

    Args:
        preprocessing: the image is made worse where it has been read, and its modalities chosen.
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
    read = max((i + 1 for i, name in enumerate(names) if name in _READING), default=0)
    position = next((i for i in range(read, len(steps)) if names[i] not in _CHOOSING), len(steps))
    return Compose([*steps[:position], Corruptiond(CommonKeys.IMAGE, corruption), *steps[position:]])
