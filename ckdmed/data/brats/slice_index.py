"""What slices a cache holds, and what is on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike

from ckdmed.checked_entries import unsealed
from ckdmed.counted import counted
from ckdmed.data.brats.slice_cache import TABLE_NAME
from ckdmed.data.slice_geometry import SliceGeometry
from ckdmed.labels import slice_category

__all__ = ["SliceIndex", "cut_geometry", "read_slice_table"]

_COUNTS = ("ncr", "ed", "et", "brain")


@dataclass(frozen=True)
class SliceIndex:
    """A table of slices.

    Args:
        folders: of the cached cases.
        tables: their `slices.json`.
        case: for each slice the position of its case in `folders`.
        number: for each slice its number within the case.
        counts: (n, 4), voxels of NCR, ED, ET and brain.
    """

    folders: tuple[Path, ...]
    tables: tuple[Mapping[str, Any], ...]
    case: np.ndarray
    number: np.ndarray
    counts: np.ndarray

    @classmethod
    def read(cls, cache_dir: PathLike, cases: Sequence[str] | None = None, min_brain: int = 1) -> SliceIndex:
        """Read the tables of a cache, not its slices.

        Args:
            cache_dir: see `build_slice_cache`.
            cases: names of the cases to take, in this order; None for all, by name.
            min_brain: fewest brain voxels of a slice; slices with fewer are left out. Default 1; 0 takes all.

        Raises:
            ValueError: a case is not in the cache, a table is damaged, or no slice is left.
        """
        root = Path(cache_dir)
        if not root.is_dir():
            raise ValueError(f"{root}: not a folder; build the cache first.")
        if cases is None:
            folders = [path.parent for path in sorted(root.glob(f"*/{TABLE_NAME}")) if path.parent.name[0] != "."]
        else:
            folders = [root / str(name) for name in cases]
        tables = [read_slice_table(folder) for folder in folders]
        case, number, counts = [], [], []
        for position, table in enumerate(tables):
            here = np.stack([np.asarray(table[key], dtype=np.int64) for key in _COUNTS], axis=1)
            kept = np.flatnonzero(here[:, 3] >= min_brain)
            case.append(np.full(len(kept), position))
            number.append(kept)
            counts.append(here[kept])
        if not sum(map(len, case)):
            raise ValueError(
                f"{root}: no slice of {counted(len(folders), 'case')} has at least {counted(min_brain, 'brain voxel')}."
            )
        return cls(tuple(folders), tuple(tables), np.concatenate(case), np.concatenate(number), np.concatenate(counts))

    def __len__(self) -> int:
        return len(self.case)

    def categories(self, min_voxels: int = 1) -> np.ndarray:
        """Class of each slice, 0 to 3 (see `slice_category`); -1 where its case has no mask."""
        ncr, ed, et = self.counts[:, 0], self.counts[:, 1], self.counts[:, 2]
        labelled = np.array([bool(table["has_label"]) for table in self.tables])[self.case]
        return np.where(labelled, slice_category(ncr, ed, et, min_voxels), -1)

    def tumour_types(self) -> np.ndarray:
        """Number of each slice's tumour type: 1 GLI, 2 MEN, 3 MET, 4 PED, 5 SSA."""
        return np.array([int(table["tumor_label"]) for table in self.tables])[self.case]

    def subset(self, chosen: np.ndarray) -> SliceIndex:
        """The slices that a boolean or integer array chooses."""
        return SliceIndex(self.folders, self.tables, self.case[chosen], self.number[chosen], self.counts[chosen])


def read_slice_table(folder: Path) -> Mapping[str, Any]:
    """The table of one cached case, checked.

    Raises:
        ValueError: the case is not in the cache, or its table is damaged.
    """
    path = folder / TABLE_NAME
    try:
        table = unsealed(path)
        lengths = {len(table[key]) for key in _COUNTS}
        complete = {"case", "patient_group", "tumor_label", "tumour_type", "modalities", "has_label", "arrays"} <= set(
            table
        )
        if lengths != {int(table["slices"])} or not complete:
            raise ValueError("the columns differ in length, or one is missing")
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: not in the cache; build the cache for this case.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({error}); run slice-cache again to rebuild the case.") from error
    return dict(table)


def cut_geometry(folder: Path) -> SliceGeometry:
    """How the volumes of one cached case were cut.

    Raises:
        ValueError: as `read_slice_table`; the table does not say it.
    """
    try:
        return SliceGeometry.from_text(json.dumps(read_slice_table(folder)["geometry"]))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / TABLE_NAME}: does not say how the case was cut ({type(error).__name__}: {error}); run "
            "slice-cache again to rebuild the case."
        ) from error
