"""The process that makes the results of one series: ``python -m ckdmed.dicom_node.worker``.

It reads its task as a line of JSON from standard input, which stays open as long as the node lives: when the node is
killed, the pipe ends, and the worker with it, so that no two work on one series.

The process runs two programs one after the other: one that infers, and one that writes the results and is without
PyTorch and the network, whose memory would otherwise add up to that of the results.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ckdmed.atomic_files import write_json
from ckdmed.bundle_files import bundle_root
from ckdmed.dicom_node.no_names import keep_names_out
from ckdmed.json_files import read_json
from ckdmed.paths import output_path

if TYPE_CHECKING:
    from ckdmed.intended_inputs import InputCheck

__all__ = ["OUTCOME", "Task", "bundle_task", "check_weights", "infer", "make_results", "task_line", "write_up"]

#: The name of what a worker says at the end, in the folder of the results.
OUTCOME = "outcome.json"
WEIGHTS = "models/model.pt"
# for the second program, in the folder of the work
_TASK, _CHECKED = "task.json", "checked.json"
# the check of an input looks at so many slices of a volume
_LOOKED_AT = 64


@dataclass(frozen=True)
class Task:
    """What a worker is to do.

    Args:
        images: the files of the series.
        bundle: folder of the bundle's configuration.
        work: a folder for the inference; it is removed at the end.
        results: the folder that the results are put into, in one step.
        fractional, captures: whether to make the probabilities, and pictures, too.
        checkpoint: other weights than the bundle's own; "" for these.
    """

    images: Sequence[str]
    bundle: str
    work: str
    results: str
    fractional: bool = False
    captures: bool = False
    checkpoint: str = ""

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return Path(self.checkpoint) if self.checkpoint else bundle_root(Path(self.bundle)) / WEIGHTS


def make_results(task: Task) -> dict[str, object]:
    """Segment a series and write its results.

    Returns:
        what is written as `OUTCOME`: ``refused`` (the cause, or ""), ``status`` of the input's check ("intended",
        "outside", "unknown"), its ``reasons``, and ``results`` (names of files, in the order in which to send them).

    Raises:
        OSError: the disk is full.
    """
    infer(task)
    return write_up(task)


def infer(task: Task) -> None:
    """The first half: check the series, and let the network see it; what is found lies in the folder of the work.

    Nothing is done where the results were made before the node was killed.

    Raises:
        OSError: the disk is full.
    """
    from ckdmed.dicom_node.block_inference import infer_in_blocks
    from ckdmed.dicom_results.source_series import read_source_series

    if Path(task.results).exists():
        return
    work = Path(task.work)
    work.mkdir(parents=True, exist_ok=True)
    checked: dict[str, object] = {"refused": "", "status": "", "reasons": [], "files": []}
    # unusable files among them
    try:
        grid = read_source_series(task.images).grid
        files = list(dict.fromkeys(grid.headers[number].path for number, _ in grid.planes))
        check = _check(files, task.weights)
        if check.facts.origin.localiser:
            # without the series' name, which may hold a person's
            raise ValueError("the series is a localiser, by its image type or its name, on which others are planned")
        infer_in_blocks(files, Path(task.bundle), work, checkpoint=task.weights)
    except ValueError as error:
        checked["refused"] = str(error)
    else:
        checked |= {"status": check.status, "reasons": list(check.reasons), "files": list(map(str, files))}
    write_json(work / _CHECKED, checked)


def write_up(task: Task) -> dict[str, object]:
    """The second half: write the results of what was found, in one step; without PyTorch.

    Returns, Raises: see `make_results`.
    """
    from ckdmed.folders import replaced_folder

    work, results = Path(task.work), Path(task.results)
    if not results.exists():
        checked = read_json(work / _CHECKED)
        with replaced_folder(results.parent, results.name, lambda _: "results of a worker") as folder:
            try:
                names = [] if checked["refused"] else _results(task, checked, folder)
            except ValueError as error:
                checked, names = {"refused": str(error), "status": "", "reasons": []}, []
            outcome = {key: checked[key] for key in ("refused", "status", "reasons")} | {"results": names}
            (folder / OUTCOME).write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(work, ignore_errors=True)
    return dict(read_json(results / OUTCOME))


def _results(task: Task, checked: dict, folder: Path) -> list[str]:
    """Write the results; returns their names."""
    from ckdmed.dicom_node.block_results import FoundInBlocks
    from ckdmed.dicom_results import Algorithm, write_classification, write_results

    work = Path(task.work)
    files = [Path(path) for path in checked["files"]]
    reasons = None if checked["status"] == "unknown" else list(checked["reasons"])
    found = FoundInBlocks.read(work)
    algorithm = Algorithm.of_checkpoint(bundle_root(Path(task.bundle)).name, task.weights, found.settings)
    if found.classes:
        classes = found.mean_probabilities(work)
        sr = write_classification(files, classes, folder / "sr.dcm", algorithm=algorithm, unintended=reasons)
        return [sr.name]
    written = write_results(
        files,
        found.masks(work),
        folder,
        algorithm=algorithm,
        unintended=reasons,
        probability=found.probabilities(work) if task.fractional else None,
        captures=task.captures,
    )
    return [file.name for file in written.files]


def bundle_task(bundle: Path, checkpoint: Path | None = None) -> str:
    """What a bundle does with slices: "segmentation" or "classification".

    Args:
        bundle: the folder of its configuration.
        checkpoint: other weights than its own.

    Raises:
        ValueError: it does neither, or has no weights; there is no such checkpoint.
    """
    config = bundle / "inference.json"
    settings = set(read_json(config)) if config.is_file() else set()
    if "slice_axis" not in settings or not settings & {"region_names", "class_names"}:
        raise ValueError(f"{bundle}: not a bundle that segments or classifies slices, such as seg_kd.")
    if checkpoint is not None:
        if not checkpoint.is_file():
            raise ValueError(
                f"{checkpoint}: there are no such weights; a training leaves them in its output folder as {WEIGHTS}."
            )
    elif not (bundle_root(bundle) / WEIGHTS).is_file():
        raise ValueError(f"{bundle}: has no weights ({WEIGHTS}); train it, or use seg_kd.")
    return "segmentation" if "region_names" in settings else "classification"


def check_weights(name: str, bundle: Path, checkpoint: Path | None = None) -> None:
    """Refuse weights without a record of their training, by which every series would fail, and those of a network that
    takes several images at once: it could be given no series.

    In a process of its own: PyTorch, which reads their record, would stay in the memory of the node.

    Args:
        name: of the bundle as it was given, for the message.
        bundle, checkpoint: see `bundle_task`.

    Raises:
        ValueError: see `bundle_task`, :func:`~ckdmed.inference.unrecorded.refuse_unrecorded` and
            :func:`~ckdmed.inference.several_images.refuse_several_images`.
    """
    bundle_task(bundle, checkpoint)
    weights = checkpoint or bundle_root(bundle) / WEIGHTS
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(_check_weights, name, bundle, weights).result()


def _check_weights(name: str, bundle: Path, weights: Path) -> None:
    from ckdmed.inference.several_images import refuse_several_images
    from ckdmed.inference.unrecorded import refuse_unrecorded

    refuse_unrecorded(bundle, weights)
    refuse_several_images(name, bundle, weights)


def _check(files: list[Path], checkpoint: Path) -> InputCheck:
    """Whether the network was made for the series, by evenly spaced slices, no more than the check looks at."""
    from ckdmed.data.dicom_series import SliceGapWarning
    from ckdmed.data.slice_files import read_slices
    from ckdmed.intended_inputs import IntendedInputs, check_input, facts_of_slices

    chosen = files[:: -(-len(files) // _LOOKED_AT)]
    with warnings.catch_warnings():
        # the others are not missing
        warnings.simplefilter("ignore", SliceGapWarning)
        slices, geometry = read_slices(chosen)
    return check_input(IntendedInputs.beside(checkpoint), slices, facts_of_slices(chosen, geometry))


def _end_with_the_node() -> None:
    """Wait for the end of standard input, which is the node's end, and end this process."""

    def wait() -> None:
        # not through Python's buffer, which is locked while it is read and could not be closed at the end
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(arguments: Sequence[str]) -> int:
    """Do the one task; 0 when there is an outcome, whatever it says.

    Args:
        arguments: none for the first program; for the second the file of the task.
    """
    if arguments:
        task = Task(**read_json(Path(arguments[0])))
    else:
        task = Task(**json.loads(sys.stdin.readline()))
    _end_with_the_node()
    keep_names_out()
    if arguments:
        write_up(task)
        return 0
    infer(task)
    file = output_path(task.work, _TASK)
    write_json(file, asdict(task))
    sys.stdout.flush()
    # in place of this program, by the same process, whose input and log it keeps
    os.execv(sys.executable, [sys.executable, "-m", "ckdmed.dicom_node.worker", str(file)])


def task_line(task: Task) -> str:
    """A task as the line that `main` reads."""
    return json.dumps(asdict(task)) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
