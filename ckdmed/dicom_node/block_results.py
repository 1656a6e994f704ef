"""What an inference over blocks of a series found, put together. It needs no PyTorch, which takes half a GiB."""

from __future__ import annotations

import csv
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ckdmed.atomic_files import write_json
from ckdmed.data.dicom_series import SliceGapWarning, read_series_grid

__all__ = ["FoundInBlocks", "block_folder", "inference_folder"]

_RECORD = "found.json"


def block_folder(work: Path, number: int) -> Path:
    """Where the images of a block lie."""
    return work / "inputs" / f"{number:05d}"


def inference_folder(work: Path) -> Path:
    """Where the bundle's inference writes."""
    return work / "inference"


@dataclass(frozen=True)
class FoundInBlocks:
    """An inference over blocks that is finished; its outputs lie in the folder of the work.

    Block ``n`` of ``N`` is every ``N``-th slice of the series, from the ``n``-th on.

    Args:
        names: what the inference calls each block in its outputs.
        regions: names of what was segmented; empty for a bundle that classifies.
        classes: likewise.
        settings: of the inference, which change what it says.
    """

    names: tuple[str, ...]
    regions: tuple[str, ...]
    classes: tuple[str, ...]
    settings: Mapping[str, Any]

    def write(self, work: Path) -> None:
        """Keep it in the folder of the work, for another process."""
        write_json(work / _RECORD, asdict(self))

    @classmethod
    def read(cls, work: Path) -> FoundInBlocks:
        """What `write` wrote."""
        values = json.loads((work / _RECORD).read_text(encoding="utf-8"))
        names = {key: tuple(values[key]) for key in ("names", "regions", "classes")}
        return cls(settings=values["settings"], **names)

    def masks(self, work: Path) -> dict[str, np.ndarray]:
        """Region to uint8, 0 and 1, (columns, rows, slices) as `ckdmed.data.dicom_series.read_dicom_volume` has them.

        Raises:
            ValueError: a mask does not lie on the grid of its slices.
        """
        return {region: self._joined(work, region, "mask", np.uint8) for region in self.regions}

    def probabilities(self, work: Path) -> dict[str, np.ndarray]:
        """The same in float32, 0 to 1.

        Raises:
            ValueError: as `masks`.
        """
        return {region: self._joined(work, region, "probability", np.float32) for region in self.regions}

    def mean_probabilities(self, work: Path) -> dict[str, float]:
        """Class to probability, the mean over the slices."""
        found: list[list[float]] = []
        for name in self.names:
            table = inference_folder(work) / f"{name}_probabilities.csv"
            with open(table, encoding="utf-8", newline="") as stream:
                found += [
                    [float(line[f"probability_{one}"]) for one in self.classes] for line in csv.DictReader(stream)
                ]
        means = np.clip(np.mean(found, axis=0), 0, 1).tolist()
        return dict(zip(self.classes, means, strict=True))

    def _joined(self, work: Path, region: str, kind: str, dtype: type) -> np.ndarray:
        count = len(self.names)
        files = [_files(block_folder(work, number)) for number in range(count)]
        whole: np.ndarray = np.empty(0, dtype)
        for number, name in enumerate(self.names):
            with warnings.catch_warnings():
                # a block is every n-th slice
                warnings.simplefilter("ignore", SliceGapWarning)
                grid = read_series_grid(files[number])
            stem = name if len(self.regions) == 1 else f"{name}_{region}"
            image = nib.nifti1.Nifti1Image.from_filename(inference_folder(work) / f"{stem}_{kind}.nii.gz")
            values = np.asarray(image.dataobj)
            if values.shape != grid.shape or not np.allclose(image.affine, grid.affine, atol=1e-3):
                raise ValueError(f"the {kind} of block {number} is not on the grid of its slices.")
            if not whole.size:
                slices = grid.shape[2] if count == 1 else sum(map(len, files))
                whole = np.zeros((*grid.shape[:2], slices), dtype)
            whole[:, :, number::count] = values
        return whole


def _files(folder: Path) -> Sequence[Path]:
    return sorted(Path(entry.path) for entry in os.scandir(folder))
