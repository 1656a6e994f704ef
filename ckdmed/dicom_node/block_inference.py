"""A bundle's own inference over a series in blocks of slices, so that memory does not grow with the series.

The networks of slices see each slice by itself, so that a block's masks are those of the whole series. A block is
every n-th slice: such slices are evenly spaced, as a series has to be, and come from all over the head, where
neighbours outside of it may all be blank, which no reader takes for an image. A series that is one file (enhanced MR)
is one block.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.bundle import ConfigParser

from ckdmed.bundle.workflow import bundle_workflow
from ckdmed.data.dicom_series import read_series_grid
from ckdmed.inference import InputsSkipped
from ckdmed.json_files import read_json

__all__ = ["BLOCK", "Predicted", "classify_in_blocks", "predict_in_blocks"]

#: Slices of a block, at most.
BLOCK = 48
# The bundles' own is 16, with which the network alone takes most of a GiB.
_BATCH = 4


@dataclass(frozen=True)
class Predicted:
    """Of a series, each (columns, rows, slices) in the order of `ckdmed.data.dicom_series.read_dicom_volume`.

    Args:
        masks: region to uint8, 0 and 1.
        probabilities: region to float32; empty unless asked for.
        settings: of the inference, which change what it says.
    """

    masks: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]
    settings: dict[str, Any]


def predict_in_blocks(
    files: Sequence[Path], bundle: Path, work: Path, with_probabilities: bool = False, block: int = BLOCK
) -> Predicted:
    """Run a bundle's ``inference.json``.

    Args:
        files: of one series, in the order of its slices.
        bundle: its folder.
        work: a folder of this inference's own; what an earlier, killed one has finished there is used.
        with_probabilities: whether to read them too.
        block: slices in memory at a time.

    Raises:
        ValueError: an image cannot be read, or the bundle's masks do not lie on the series' grid.
    """
    run = _run(files, bundle, work, block)
    regions = [str(name) for name in run.parser.get_parsed_content("region_names")]
    return Predicted(*_joined(run, regions, with_probabilities), run.settings)


def classify_in_blocks(
    files: Sequence[Path], bundle: Path, work: Path, block: int = BLOCK
) -> tuple[dict[str, float], dict[str, Any]]:
    """The same with a bundle that classifies slices.

    Args, Raises: as `predict_in_blocks`.

    Returns:
        class to probability, the mean over the slices; and the settings of the inference.
    """
    run = _run(files, bundle, work, block)
    classes = [str(name) for name in run.parser.get_parsed_content("class_names")]
    found: list[list[float]] = []
    for number in range(len(run.parts)):
        with open(run.output / f"{run.name(number)}_probabilities.csv", encoding="utf-8", newline="") as stream:
            found += [[float(line[f"probability_{name}"]) for name in classes] for line in csv.DictReader(stream)]
    means = np.clip(np.mean(found, axis=0), 0, 1).tolist()
    return dict(zip(classes, means, strict=True)), run.settings


@dataclass(frozen=True)
class _Run:
    """An inference over blocks that is finished."""

    parts: list[Sequence[Path]]
    inputs: Path
    output: Path
    parser: ConfigParser
    settings: dict[str, Any]
    names: dict[str, str]

    def name(self, number: int) -> str:
        """What the inference calls a block in its outputs."""
        return self.names[_folder(number)]


def _folder(number: int) -> str:
    return f"{number:05d}"


def _run(files: Sequence[Path], bundle: Path, work: Path, block: int) -> _Run:
    inputs, output = work / "inputs", work / "inference"
    shutil.rmtree(inputs, ignore_errors=True)
    count = -(-len(files) // block)
    parts = [files[start::count] for start in range(count)]
    for number, part in enumerate(parts):
        folder = inputs / _folder(number)
        folder.mkdir(parents=True)
        for index, file in enumerate(part):
            _link(file, folder / f"{index:05d}.dcm")
    settings = {"dataset_dir": str(inputs), "output_dir": str(output), "resume": True, "batch_size": _BATCH}
    workflow = bundle_workflow(bundle, settings, ("inference.json",))
    workflow.initialize()
    workflow.run()
    used = dict(workflow.parser.get_parsed_content("job").settings)
    try:
        workflow.finalize()
    except InputsSkipped as skipped:
        first = skipped.skipped[0]
        # the links have names that say nothing to anybody
        reason = first.reason.replace(str(first.path), "an image of the series")
        raise ValueError(f"{len(skipped.skipped)} of {len(parts)} blocks of slices cannot be read: {reason}") from None
    results = read_json(output / "report.json")["results"]
    names = {Path(result["input"][0]).parent.name: str(result["name"]) for result in results}
    return _Run(parts, inputs, output, workflow.parser, used, names)


def _joined(
    run: _Run, regions: Sequence[str], with_probabilities: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    kinds = ("mask", "probability") if with_probabilities else ("mask",)
    whole: dict[tuple[str, str], np.ndarray] = {}
    for number in range(len(run.parts)):
        grid = read_series_grid(sorted((run.inputs / _folder(number)).iterdir()))
        slices = grid.shape[2] if len(run.parts) == 1 else sum(map(len, run.parts))
        for kind, region in ((kind, region) for kind in kinds for region in regions):
            stem = run.name(number)
            name = f"{stem}_{kind}.nii.gz" if len(regions) == 1 else f"{stem}_{region}_{kind}.nii.gz"
            image = nib.nifti1.Nifti1Image.from_filename(run.output / name)
            values = np.asarray(image.dataobj)
            if values.shape != grid.shape or not np.allclose(image.affine, grid.affine, atol=1e-3):
                raise ValueError(f"the {kind} of block {number} is not on the grid of its slices.")
            if (kind, region) not in whole:
                dtype = np.uint8 if kind == "mask" else np.float32
                whole[kind, region] = np.zeros((*grid.shape[:2], slices), dtype)
            whole[kind, region][:, :, number :: len(run.parts)] = values
    return (
        {region: whole["mask", region] for region in regions},
        {region: whole["probability", region] for region in regions} if with_probabilities else {},
    )


def _link(file: Path, link: Path) -> None:
    try:
        os.link(file, link)
    except OSError:
        # a disk without such links
        link.symlink_to(file.resolve())
