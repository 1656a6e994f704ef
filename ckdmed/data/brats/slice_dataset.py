"""Cached slices as a dataset that reads one slice at a time."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import PathLike
from torch.utils.data import Dataset

from ckdmed.data.brats.slice_arrays import read_slices
from ckdmed.data.brats.slice_index import SliceIndex

__all__ = ["BratsSliceDataset"]

TARGETS = ("category", "type")


class BratsSliceDataset(Dataset):
    """Slices of a cache, each read from the disk by itself.

    An item holds `image` [C, H, W] float32, `label` [1, H, W] uint8 with the labels of 2023 (all 0 where there is no
    mask), `labelled` (bool), `slice_label` (0 no tumour, 1 oedema only, 2 core, 3 enhancing; -1 without a mask),
    `tumor_label` (1 GLI, 2 MEN, 3 MET, 4 PED, 5 SSA), and `case`, `slice`, `id`, `patient`, `patient_group`,
    `modalities`.

    Args:
        index: a `SliceIndex`, or a cache's folder.
        cases: with a folder, names of the cases to take, or None for all.
        transform: applied to each item, or None.
        modalities: those to read, in this order, or None for those of the cache (of all cases the same).
        neighbours: number of slices on each side that are added as channels (2.5-D). Channels are ordered by slice,
            then modality, from below upwards (from left to right, from back to front in other planes) in whatever
            order a file keeps them; beyond the ends the outermost slice is repeated. Default 0.
        min_brain: with a folder, see `SliceIndex.read`.
        min_voxels: see `slice_category`.
        target: None, or which label `target` repeats: "category" (0 to 3) or "type" (0 to 4, from the tumour type).
            With "category" slices without a mask are left out.
        unlabelled: cases whose masks are as good as absent: neither `label` nor the sampling by category may know them.

    Shape:
        ``image`` is [C * (2 * neighbours + 1), H, W].

    Raises:
        ValueError: `neighbours` is negative, `target` unknown, a case lacks a modality, or the cases differ in
            modalities and none are chosen.
    """

    def __init__(
        self,
        index: SliceIndex | PathLike,
        cases: Sequence[str] | None = None,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        modalities: Sequence[str] | None = None,
        neighbours: int = 0,
        min_brain: int = 1,
        min_voxels: int = 1,
        target: str | None = None,
        unlabelled: Collection[str] = (),
    ) -> None:
        if neighbours < 0:
            raise ValueError(f"neighbours must be 0 or more, got {neighbours}.")
        if target is not None and target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)} or None, got {target!r}.")
        self.index = index if isinstance(index, SliceIndex) else SliceIndex.read(index, cases, min_brain)
        self._labelled = [bool(t["has_label"]) and str(t["case"]) not in set(unlabelled) for t in self.index.tables]
        known = np.array(self._labelled, bool)[self.index.case]
        self.categories = np.where(known, self.index.categories(min_voxels), -1)
        if target == "category" and not known.all():
            self.index, self.categories = self.index.subset(known), self.categories[known]
        self.transform, self.neighbours, self.target = transform, neighbours, target
        self.modalities = self._modalities(modalities)
        self._channels = [[t["modalities"].index(m) for m in self.modalities] for t in self.index.tables]
        self._downwards = [_runs_down(table.get("geometry")) for table in self.index.tables]

    def _modalities(self, wanted: Sequence[str] | None) -> list[str]:
        tables = self.index.tables
        chosen = list(tables[0]["modalities"]) if wanted is None else list(wanted)
        for table in tables:
            there = list(table["modalities"])
            if wanted is None and there != chosen:
                raise ValueError(
                    f"{table['case']} has {there}, but {tables[0]['case']} has {chosen}; choose the modalities."
                )
            if missing := [modality for modality in chosen if modality not in there]:
                raise ValueError(f"{table['case']} lacks {', '.join(missing)} (found: {', '.join(there)}).")
        if not chosen:
            raise ValueError("modalities must name at least one.")
        return chosen

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> Any:
        item = self.read(position)
        return item if self.transform is None else self.transform(item)

    def read(self, position: int) -> dict[str, Any]:
        """The item before the transform."""
        at = range(len(self))[position]
        which, number = int(self.index.case[at]), int(self.index.number[at])
        folder, table = self.index.folders[which], self.index.tables[which]
        first = max(number - self.neighbours, 0)
        last = min(number + self.neighbours, int(table["slices"]) - 1)
        rows = read_slices(folder / "image.npy", table["arrays"]["image.npy"], first, last - first + 1)
        rows = rows[:, self._channels[which]]
        around = np.clip(np.arange(number - self.neighbours, number + self.neighbours + 1), first, last) - first
        if self._downwards[which]:
            around = around[::-1]
        image = rows[around].reshape(-1, *rows.shape[2:]).astype(np.float32)
        labelled = self._labelled[which]
        if labelled:
            label = read_slices(folder / "label.npy", table["arrays"]["label.npy"], number, 1).copy()
        else:
            label = np.zeros((1, *image.shape[1:]), np.uint8)
        item: dict[str, Any] = {
            "image": torch.from_numpy(image),
            "label": torch.from_numpy(label),
            "labelled": labelled,
            "slice_label": int(self.categories[at]),
            "tumor_label": int(table["tumor_label"]),
            "case": str(table["case"]),
            "slice": number,
            "id": f"{table['case']}:{number}",
            "patient": str(table["patient"]),
            "patient_group": str(table["patient_group"]),
            "modalities": list(self.modalities),
        }
        if self.target is not None:
            item["target"] = item["slice_label"] if self.target == "category" else item["tumor_label"] - 1
        return item

    def subset(self, chosen: np.ndarray) -> BratsSliceDataset:
        """The slices that a boolean or integer array chooses, read and transformed as here."""
        part = copy.copy(self)
        part.index, part.categories = self.index.subset(chosen), self.categories[chosen]
        return part

    def size_on_disk(self) -> int:
        """Bytes of the cached cases."""
        files = {entry for folder in self.index.folders for entry in folder.iterdir()}
        return sum(os.stat(path).st_size for path in files)

    def items(self) -> list[Mapping[str, Any]]:
        """What is known of every slice without reading it, for tables and splits."""
        types = self.index.tumour_types()
        return [
            {
                "case": str(self.index.tables[c]["case"]),
                "slice": int(s),
                "slice_label": int(k),
                "tumor_label": int(t),
                "patient_group": str(self.index.tables[c]["patient_group"]),
            }
            for c, s, k, t in zip(self.index.case, self.index.number, self.categories, types, strict=True)
        ]


def _runs_down(geometry: Mapping[str, Any] | None) -> bool:
    """Whether a case's slices follow one another against right, anterior, superior."""
    if geometry is None:
        return False
    step = np.asarray(geometry["affine"], dtype=np.float64)[:3, int(geometry["axes"][0])]
    return bool(step[np.abs(step).argmax()] < 0)
