"""Whether the masks of a user's own datalist hold the values that the regions name, before a network learns."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ckdmed.data.datalist_form import SECTIONS
from ckdmed.data.label_files import read_label_slices
from ckdmed.data.load_slices import check_named, region_names

__all__ = ["check_label_values"]

logger = logging.getLogger(__name__)


def check_label_values(
    datalist: Path, content: Mapping[str, Any], regions: Mapping[str, Sequence[int] | None], progress: bool = True
) -> None:
    """Read every mask once, and tell what does not fit the regions.

    A region that no mask shows is warned of: its network would learn to leave it empty, without another sign.

    Args:
        datalist: the file, whose folder the masks' paths are relative to.
        content: of it.
        regions: see :class:`~ckdmed.data.LoadSliced`.
        progress: whether to show a progress bar.

    Raises:
        ValueError: a mask cannot be read or has a value that no region has.
    """
    listed = {name: None if values is None else set(values) for name, values in regions.items()}
    found: set[int] = set()
    for name in tqdm(_masks(content), desc="masks", unit="mask", leave=False, disable=not progress):
        # what is missing is told with its place in the datalist, when that is read
        if (file := datalist.parent / name).is_file():
            there = {int(value) for value in np.unique(read_label_slices(file)[0])} - {0}
            check_named(there, listed, str(file))
            found |= there
    # a region of None holds every value
    wanted = {name: found if listed[name] is None else set(listed[name] or ()) for name in region_names(regions)}
    absent = [name for name, values in wanted.items() if not found & values]
    if absent and found:
        told = ", ".join(f"'{name}' (values {sorted(wanted[name])})" for name in absent)
        logger.warning(
            f"{datalist}: no mask contains {told}; the masks' values are {', '.join(map(str, sorted(found)))}. Check "
            "regions: a region without examples is learned as always empty."
        )


def _masks(content: Mapping[str, Any]) -> list[str]:
    """The masks of whole numbers, each once."""
    items = [item for name in SECTIONS if isinstance(content.get(name), list) for item in content[name]]
    labels = (item.get("label") for item in items if isinstance(item, Mapping) and not item.get("soft"))
    return list(dict.fromkeys(label for label in labels if isinstance(label, str) and label))
