"""Which number stands for the region in a mask that networks made, so that a student of the same region reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ckdmed.bundle.trained import recorded_settings
from ckdmed.data.load_slices import BACKGROUND, TUMOUR, region_names

__all__ = ["common_regions", "mask_value"]

# what marks a tumour where every value but 0 does; in a picture it should be seen
_PICTURE, _VOLUME = 255, 1

Regions = Mapping[str, Sequence[int] | None]


def common_regions(models: Sequence[Path]) -> Regions:
    """The regions that networks were trained with, see :class:`~ckdmed.data.load_slices.LoadSliced`.

    Args:
        models: checkpoints with records.

    Raises:
        ValueError: they differ; there are several beside the background, or the one has no value above 0.
    """
    found = {model: dict((recorded_settings(model) or {}).get("regions") or TUMOUR) for model in models}
    first = models[0]
    regions = found[first]
    for model, others in found.items():
        if _as_sets(others) != _as_sets(regions):
            raise ValueError(
                f"'{model}' was trained with regions {others}, but '{first}' with {regions}; networks that label "
                "together must mark the same."
            )
    names = region_names(regions)
    if len(names) != 1:
        raise ValueError(f"'{first}' has {len(names)} regions ({', '.join(names)}); networks that label must have one.")
    values = regions[names[0]]
    if values is not None and not any(values):
        raise ValueError(f"'{first}' was trained with regions {regions}; no value above 0 is in '{names[0]}'.")
    return regions


def mask_value(regions: Regions, suffix: str) -> int:
    """What a mask holds where the region is: its first value; where it has none, 255 in pictures and 1 in volumes.

    Args:
        regions: with one region.
        suffix: of the mask's file.
    """
    values = regions[region_names(regions)[0]]
    if values is not None:
        return next(int(value) for value in values if value)
    # where every value but 0 is tumour, some may be named as background
    background = {int(value) for value in regions.get(BACKGROUND) or ()}
    usual = _PICTURE if suffix == ".png" else _VOLUME
    return next(value for value in (usual, *range(1, 65536)) if value not in background)


def _as_sets(regions: Regions) -> dict[str, set[int] | None]:
    return {name: None if values is None else set(values) for name, values in regions.items()}
