"""Whether the masks of a training tell the regions apart that a network is to learn."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.labels import REGIONS, brats_labels

__all__ = ["warn_of_untold_regions"]

logger = logging.getLogger(__name__)

_LABELS = brats_labels(2023)
_PARTS = {name: frozenset(_LABELS.names[value] for value in _LABELS.region_values(name)) for name in REGIONS}


def warn_of_untold_regions(
    folder: Path, listed: Iterable[Mapping[str, Any]], train: Sequence[Mapping[str, Any]], regions: Sequence[str]
) -> None:
    """Warn of regions that no training mask has, or that are the same voxels as another one in all of them.

    Masks of the whole tumour alone hold 1, which BraTS reads as core: a network of TC, WT and ET would learn
    the whole tumour as its core, and nothing would show it.

    Args:
        folder: of the cases, for the message.
        listed: the datalist's items, with ``case`` and, where they were counted, ``label_voxels``.
        train: the training section's items, with ``case`` and ``labelled``.
        regions: that the network learns.
    """
    counted = {item["case"]: item.get("label_voxels") for item in listed}
    masks = [counted.get(item["case"]) for item in train if item["labelled"]]
    if not masks or any(mask is None for mask in masks):
        # a datalist of one's own need not hold the counts
        return
    there = {name for mask in masks for name, voxels in (mask or {}).items() if voxels}
    parts = {region: _PARTS[region] & there for region in regions}
    absent = [region for region in regions if not parts[region]]
    told = [region for region in regions if parts[region]]
    same = [f"{one} and {other}" for i, one in enumerate(told) for other in told[i + 1 :] if parts[one] == parts[other]]
    problems = [f"{' and '.join(same)} are the same voxels"] if same else []
    problems += [f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} absent"] if absent else []
    if problems:
        names = " and ".join(name for name in _LABELS.names.values() if name in there)
        held = f"hold only {names}" if names else "are empty"
        logger.warning(
            f"{folder}: the training masks {held}: {', and '.join(problems)}. If they mark only the whole tumour, "
            "train with --regions \"['WT']\"; otherwise leave the regions that they do not distinguish out of "
            "--regions."
        )
