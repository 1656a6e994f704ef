"""The process that makes the results of one series: ``python -m ckdmed.dicom_node.worker``.

It reads its task as a line of JSON from standard input, which stays open as long as the node lives: when the node is
killed, the pipe ends, and the worker with it, so that no two work on one series.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ckdmed.dicom_node.no_names import keep_names_out
from ckdmed.json_files import read_json

if TYPE_CHECKING:
    from ckdmed.intended_inputs import InputCheck

__all__ = ["OUTCOME", "Task", "bundle_task", "make_results", "task_line"]

#: The name of what a worker says at the end, in the folder of the results.
OUTCOME = "outcome.json"
WEIGHTS = "models/model.pt"
# the check of an input looks at so many slices of a volume
_LOOKED_AT = 64


@dataclass(frozen=True)
class Task:
    """What a worker is to do.

    Args:
        images: the files of the series.
        bundle: folder of the bundle.
        work: a folder for the inference; it is removed at the end.
        results: the folder that the results are put into, in one step.
        fractional, captures: whether to make the probabilities, and pictures, too.
    """

    images: Sequence[str]
    bundle: str
    work: str
    results: str
    fractional: bool = False
    captures: bool = False


def make_results(task: Task) -> dict[str, object]:
    """Segment a series and write its results.

    Returns:
        what is written as `OUTCOME`: ``refused`` (the cause, or ""), ``status`` of the input's check ("intended",
        "outside", "unknown"), its ``reasons``, and ``results`` (names of files, in the order in which to send them).

    Raises:
        OSError: the disk is full.
    """
    from ckdmed.data.dicom_series import DicomFileError
    from ckdmed.dicom_results.source_series import read_source_series
    from ckdmed.folders import replaced_folder

    work, results = Path(task.work), Path(task.results)
    if results.exists():
        # made before the node was killed
        shutil.rmtree(work, ignore_errors=True)
        return dict(json.loads((results / OUTCOME).read_text(encoding="utf-8")))
    work.mkdir(parents=True, exist_ok=True)
    refused = ""
    try:
        source = read_source_series(task.images)
    except DicomFileError as error:
        refused = str(error)
    with replaced_folder(results.parent, results.name, lambda _: "results of a worker") as folder:
        if refused:
            outcome: dict[str, object] = {"refused": refused, "status": "", "reasons": [], "results": []}
        else:
            order = list(dict.fromkeys(str(source.grid.headers[number].path) for number, _ in source.grid.planes))
            del source
            outcome = _results(task, [Path(path) for path in order], folder)
        (folder / OUTCOME).write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(work, ignore_errors=True)
    return outcome


def _results(task: Task, files: list[Path], folder: Path) -> dict[str, object]:
    from ckdmed.dicom_node.block_inference import classify_in_blocks, predict_in_blocks
    from ckdmed.dicom_results import Algorithm, unintended_reasons, write_classification, write_results

    bundle, work = Path(task.bundle), Path(task.work)
    checkpoint = bundle / WEIGHTS
    try:
        check = _check(files, checkpoint)
        reasons = unintended_reasons(check)
        if bundle_task(bundle) == "classification":
            classes, settings = classify_in_blocks(files, bundle, work)
            algorithm = Algorithm.of_checkpoint(bundle.name, checkpoint, settings)
            sr = write_classification(files, classes, folder / "sr.dcm", algorithm=algorithm, unintended=reasons)
            names = [sr.name]
        else:
            predicted = predict_in_blocks(files, bundle, work, task.fractional)
            # the network and what it needed
            gc.collect()
            written = write_results(
                files,
                predicted.masks,
                folder,
                algorithm=Algorithm.of_checkpoint(bundle.name, checkpoint, predicted.settings),
                unintended=reasons,
                probability=predicted.probabilities or None,
                captures=task.captures,
            )
            names = [file.name for file in written.files]
    except ValueError as error:
        return {"refused": str(error), "status": "", "reasons": [], "results": []}
    return {"refused": "", "status": check.status, "reasons": list(check.reasons), "results": names}


def bundle_task(bundle: Path) -> str:
    """What a bundle does with slices: "segmentation" or "classification".

    Raises:
        ValueError: it does neither, or has no weights.
    """
    config = bundle / "inference.json"
    settings = set(read_json(config)) if config.is_file() else set()
    if "slice_axis" not in settings or not settings & {"region_names", "class_names"}:
        raise ValueError(f"{bundle}: no bundle that segments or classifies slices, such as seg_kd.")
    if not (bundle / WEIGHTS).is_file():
        raise ValueError(f"{bundle}: has no weights ({WEIGHTS}); train it, or take seg_kd.")
    return "segmentation" if "region_names" in settings else "classification"


def _check(files: list[Path], checkpoint: Path) -> InputCheck:
    """Whether the network was made for the series, by evenly spaced slices, no more than the check looks at."""
    from ckdmed.data.slice_files import read_slices
    from ckdmed.intended_inputs import IntendedInputs, check_input, facts_of_slices

    chosen = files[:: -(-len(files) // _LOOKED_AT)]
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


def main() -> int:
    """Do the one task; 0 when there is an outcome, whatever it says."""
    task = Task(**json.loads(sys.stdin.readline()))
    _end_with_the_node()
    keep_names_out()
    make_results(task)
    return 0


def task_line(task: Task) -> str:
    """A task as the line that `main` reads."""
    return json.dumps(asdict(task)) + "\n"


if __name__ == "__main__":
    sys.exit(main())
