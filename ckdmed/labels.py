"""What the numbers in BraTS masks mean, by release, and the regions that are scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "REGIONS",
    "SLICE_CATEGORIES",
    "TUMOUR_TYPES",
    "BratsLabels",
    "brats_labels",
    "checked_regions",
    "slice_category",
]

# The order of MONAI's ConvertToMultiChannelBasedOnBratsClasses.
REGIONS = ("TC", "WT", "ET")
TUMOUR_TYPES = ("GLI", "MEN", "MET", "PED", "SSA")
SLICE_CATEGORIES = ("no tumour", "oedema only", "core", "enhancing")


def checked_regions(regions: Sequence[str]) -> tuple[str, ...]:
    """The names of regions, each of TC, WT and ET at most once.

    Raises:
        ValueError: none, another name, or one that stands twice.
    """
    names = (regions,) if isinstance(regions, str) else tuple(regions)
    if not names or not set(names) <= set(REGIONS) or len(set(names)) != len(names):
        raise ValueError(f"regions must be one or more of {', '.join(REGIONS)}, each once, got {names}.")
    return names


@dataclass(frozen=True)
class BratsLabels:
    """The labels of one release.

    Regions: ET is the label `et`; TC is `ncr` and `et`; WT is `ncr`, `ed` and `et`.

    Args:
        release: year, or "decathlon".
        ncr: necrotic or non-enhancing core.
        ed: oedema, with infiltration.
        et: enhancing tumour.
        others: (value, name) of labels that belong to none of the regions.
    """

    release: str
    ncr: int
    ed: int
    et: int
    others: tuple[tuple[int, str], ...] = ()

    @property
    def names(self) -> dict[int, str]:
        """Value to short name, background included."""
        return {0: "background", self.ncr: "NCR", self.ed: "ED", self.et: "ET", **dict(self.others)}

    def region_values(self, region: str) -> tuple[int, ...]:
        """The labels that a region is made of.

        Raises:
            ValueError: `region` is none of TC, WT, ET.
        """
        values = {"ET": (self.et,), "TC": (self.ncr, self.et), "WT": (self.ncr, self.ed, self.et)}
        if region not in values:
            raise ValueError(f"a region must be one of {', '.join(REGIONS)}, got {region!r}.")
        return values[region]

    def unknown(self, values: Iterable[float]) -> list[float]:
        """Those of the values that are no label of this release."""
        return sorted({float(value) for value in values} - {float(value) for value in self.names})

    def to_regions(self, mask: np.ndarray, regions: Sequence[str] = REGIONS) -> np.ndarray:
        """Boolean channels [len(regions), *S] of a mask [*S]."""
        return np.stack([np.isin(mask, self.region_values(region)) for region in regions])

    def from_regions(self, channels: np.ndarray, regions: Sequence[str] = REGIONS) -> np.ndarray:
        """The mask [*S], uint8, of channels [len(regions), *S] (nonzero is inside); undoes `to_regions` up to `others`.

        Predicted channels need not be nested. ET goes before TC, TC before WT: a voxel of ET is `et` whatever TC and WT
        say, else one of TC is `ncr`, else one of WT is `ed`. Of a region that is no channel nothing is known: without
        TC and ET all of WT is `ed`, and `to_regions` of the mask gives the same channels again.

        Raises:
            ValueError: `regions` is not some of TC, WT and ET, each once, or there is another number of channels.
        """
        names = checked_regions(regions)
        if len(channels) != len(names):
            raise ValueError(f"a mask of {', '.join(names)} is made of one channel per region, got {len(channels)}.")
        inside = {name: np.asarray(channel) != 0 for name, channel in zip(names, channels, strict=True)}
        mask = np.zeros(np.shape(channels[0]), np.uint8)
        for region, value in (("WT", self.ed), ("TC", self.ncr), ("ET", self.et)):
            if region in inside:
                mask[inside[region]] = value
        return mask

    def convert(self, mask: np.ndarray, target: BratsLabels) -> np.ndarray:
        """The mask in the labels of another release; what belongs to no region becomes background. uint8."""
        out = np.zeros(np.shape(mask), np.uint8)
        for source, value in ((self.ncr, target.ncr), (self.ed, target.ed), (self.et, target.et)):
            out[mask == source] = value
        return out


def brats_labels(release: int | str = 2023, tumour_type: str = "GLI") -> BratsLabels:
    """The labels of a release of BraTS: ET is 4 from 2017 to 2022 and 3 from 2023.

    Args:
        release: year from 2017, as number or text, or "decathlon" (Task01: 1 oedema, 2 core, 3 enhancing).
        tumour_type: GLI, MEN, MET, PED or SSA. From 2024 the gliomas have label 4 for the resection cavity, which is in
            no region.

    Raises:
        ValueError: another release or type; PED from 2024, whose labels follow another scheme.

    Examples:
        >>> brats_labels(2018).et, brats_labels(2023).et
        (4, 3)
    """
    if tumour_type not in TUMOUR_TYPES:
        raise ValueError(f"a tumour type must be one of {', '.join(TUMOUR_TYPES)}, got {tumour_type!r}.")
    if str(release).lower() == "decathlon":
        return BratsLabels("decathlon", ncr=2, ed=1, et=3)
    text = str(release)
    if not text.isdigit() or len(text) != 4 or int(text) < 2017:
        raise ValueError(f"a release must be a year from 2017 or 'decathlon', got {release!r}.")
    if int(text) <= 2022:
        return BratsLabels(text, ncr=1, ed=2, et=4)
    if int(text) >= 2024 and tumour_type == "PED":
        raise ValueError(
            f"the paediatric masks of {text} mark other parts than the ET, core and oedema of 2023, and no table "
            "covers them. Convert them to the labels of 2023 (1 core, 2 oedema, 3 enhancing) first."
        )
    others = ((4, "RC"),) if int(text) >= 2024 and tumour_type == "GLI" else ()
    return BratsLabels(text, ncr=1, ed=2, et=3, others=others)


def slice_category(ncr: ArrayLike, ed: ArrayLike, et: ArrayLike, min_voxels: int = 1) -> np.ndarray:
    """Class of slices by the voxels of each label: 3 enhancing, else 2 core, else 1 oedema only, else 0 no tumour.

    Args:
        ncr, ed, et: counts, of any one shape.
        min_voxels: fewest voxels that count as present, from 1. Default 1: all that the mask holds.

    Raises:
        ValueError: `min_voxels` is below 1.
    """
    if min_voxels < 1:
        raise ValueError(f"min_voxels must be at least 1, got {min_voxels}.")
    conditions = [np.asarray(part) >= min_voxels for part in (et, ncr, ed)]
    return np.select(conditions, [3, 2, 1], default=0).astype(np.int64)
