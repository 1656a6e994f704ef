"""A bundle's own inference over a series in blocks of slices, so that memory does not grow with the series.

The networks of slices see each slice by itself, so that a block's masks are those of the whole series. A block is
every n-th slice: such slices are evenly spaced, as a series has to be, and come from all over the head, where
neighbours outside of it may all be blank, which no reader takes for an image. A series that is one file (enhanced MR)
is one block.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

from ckdmed.bundle.workflow import bundle_workflow
from ckdmed.counted import counted
from ckdmed.data.dicom_series import SliceGapWarning, read_dicom_header
from ckdmed.dicom_node.block_results import FoundInBlocks, block_folder, inference_folder
from ckdmed.inference import InputsSkipped
from ckdmed.json_files import read_json

__all__ = ["block_slices", "infer_in_blocks"]

# An inference holds about ten float32 arrays of its input, here 6 MiB each.
_BLOCK_PIXELS, _FEWEST_SLICES = 24 << 16, 4
# The bundles' own is 16, with which the network alone takes most of a GiB; on a processor it is no faster.
_BATCH = 1


def block_slices(columns: int, rows: int) -> int:
    """How many slices are in memory at a time: 24 of 256 x 256, fewer of larger ones, at least 4."""
    return max(_FEWEST_SLICES, _BLOCK_PIXELS // max(1, columns * rows))


def infer_in_blocks(
    files: Sequence[Path], bundle: Path, work: Path, block: int | None = None, checkpoint: Path | None = None
) -> FoundInBlocks:
    """Run a bundle's ``inference.json``.

    Args:
        files: of one series, in the order of its slices.
        bundle: its folder.
        work: a folder of this inference's own; what an earlier, killed one has finished there is used.
        block: slices in memory at a time; None for `block_slices`.
        checkpoint: other weights than the bundle's own.

    Raises:
        ValueError: an image cannot be read.
    """
    inputs, output = work / "inputs", inference_folder(work)
    shutil.rmtree(inputs, ignore_errors=True)
    count = -(-len(files) // (block or block_slices(*read_dicom_header(files[0]).size[:2])))
    for number in range(count):
        folder = block_folder(work, number)
        folder.mkdir(parents=True)
        for index, file in enumerate(files[number::count]):
            _link(file, folder / f"{index:05d}.dcm")
    settings = {"dataset_dir": str(inputs), "output_dir": str(output), "resume": True, "batch_size": _BATCH}
    if checkpoint is not None:
        settings["checkpoint"] = str(checkpoint)
    workflow = bundle_workflow(bundle, settings, ("inference.json",))
    with warnings.catch_warnings():
        # a block's slices lie further apart than they say
        warnings.simplefilter("ignore", SliceGapWarning)
        workflow.initialize()
        workflow.run()
    parser = workflow.parser
    used = dict(parser.get_parsed_content("job").settings)
    try:
        workflow.finalize()
    except InputsSkipped as skipped:
        first = skipped.skipped[0]
        # the links have names that say nothing to anybody
        reason = first.reason.replace(str(first.path), "an image of the series")
        raise ValueError(
            f"{len(skipped.skipped)} of {counted(count, 'block')} of slices cannot be read: {reason}"
        ) from None
    results = read_json(output / "report.json")["results"]
    names = {Path(result["input"][0]).parent.name: str(result["name"]) for result in results}
    config = read_json(bundle / "inference.json")
    listed = {
        key: tuple(map(str, parser.get_parsed_content(key))) if key in config else ()
        for key in ("region_names", "class_names")
    }
    found = FoundInBlocks(
        names=tuple(names[block_folder(work, number).name] for number in range(count)),
        regions=listed["region_names"],
        classes=listed["class_names"],
        settings=used,
    )
    found.write(work)
    return found


def _link(file: Path, link: Path) -> None:
    try:
        os.link(file, link)
    except OSError:
        # a disk without such links
        link.symlink_to(file.resolve())
