"""Which folder a run writes into: one that holds no other run's results."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import distributed

from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.run_lock import LOCK_NAME, in_use
from ckdmed.bundle.running import running_workflow
from ckdmed.bundle.setting_check import is_code, text_of
from ckdmed.bundle.typed_command import typed_command, with_options
from ckdmed.bundle_files import is_installed
from ckdmed.files import is_temporary
from ckdmed.folders import refuse_unwritable
from ckdmed.json_files import read_json

__all__ = [
    "ARTEFACTS",
    "RESUMED",
    "check_places",
    "from_rank_0",
    "holds_run",
    "inference_folder",
    "next_free",
    "output_folder",
    "refuse_earlier_run",
    "run_of",
    "weights_folder",
]

logger = logging.getLogger("ckdmed")

SETTINGS = "settings.json"
# what a training leaves, with what it is; in the order in which the last lines of a run name it
ARTEFACTS = {
    "models/model.pt": "weights with the best validation score",
    "models/model.inputs.json": "statistics of the training inputs, used by inference to recognise inputs unlike them",
    "metrics.jsonl": "loss terms and metrics of every epoch",
    "curves.png": "plots of these",
    "predictions.png": "ground truth and predictions outlined on validation images",
    "tensorboard": "TensorBoard logs",
    SETTINGS: "the settings of the run",
    "sections.json": "the patients of the training, validation and test sets, which later evaluations keep to",
    "contents.json": "digests of their images and labels, by which a resumed run notices others in their place",
}
_FILES = ("metrics.jsonl", "curves.png", "predictions.png")
# what a start writes, which may fail after it
_OF_A_START = (SETTINGS, "sections.json", "contents.json")
_OF_TEACHERS = ("teacher", "teachers")
_FOLDERS = ("models", *_OF_TEACHERS, "tensorboard")
#: the checkpoints with which a resumed run goes on
RESUMED = "resume_epoch=*.pt"
# weights of a run lie in a folder of its output folder, or one further below
_FOLDERS_UP = 3


def output_folder(bundle_root: str, resume: bool = False) -> str:
    """Where a run goes that was given no ``output_dir``: ``output`` in the bundle, ``output-2`` beside it, and so on.

    A new run gets the first name behind all that hold a run, one that is resumed or evaluated the last of them. An
    evaluation that was given a ``checkpoint`` belongs to the run that made it, whichever is the latest. All processes
    of a distributed run get the choice of the first one. A bundle that was installed with the package is not written
    to: the folders are then in the working directory, where those of other bundles may lie as well.

    Args:
        bundle_root: the bundle's folder.
        resume: the folder of the latest run is wanted, or of that which made the checkpoint.
    """
    made_by = _run_of_the_checkpoint() if resume else None
    if made_by is not None:
        logger.info(f"no output_dir is given: the run of the checkpoint is {made_by}")
        return str(made_by)
    base = _base(bundle_root)
    bundle = Path(bundle_root).name if is_installed(Path(bundle_root)) else None
    folder = from_rank_0(lambda: str(_latest(base, bundle) if resume else next_free(base)))
    if running_workflow() is not None:
        what = "the latest run is" if resume else "this run goes into"
        logger.info(f"no output_dir is given: {what} {_shown(folder, bundle_root)}")
    return folder


def run_of(weights: Path) -> Path | None:
    """The output folder of the run that made a file of weights, by where it lies; None where no run is around it."""
    for folder in list(weights.absolute().parents)[:_FOLDERS_UP]:
        if (folder / SETTINGS).is_file() and holds_run(folder):
            return folder
    return None


def weights_folder(run: Path, settings: Mapping[str, Any]) -> Path:
    """The folder with the weights of a run: its ``ckpt_dir``, where that is still there, else ``models`` in its folder.

    Args:
        run: its output folder, wherever that lies now.
        settings: of its record.
    """
    stated, output = settings.get("ckpt_dir"), settings.get("output_dir")
    if isinstance(stated, str):
        inside = isinstance(output, str) and Path(stated).is_relative_to(output)
        # of a run that was moved, what was in its folder moved with it
        folder = run / Path(stated).relative_to(str(output)) if inside else Path(stated)
        if folder.is_dir():
            return folder
    return run / "models"


def _run_of_the_checkpoint() -> Path | None:
    """The run of the checkpoint that an evaluation was given; by default it is one of the latest run."""
    workflow = running_workflow()
    checkpoint = None if workflow is None else text_of(workflow.parser.get("checkpoint"))
    return run_of(Path(str(checkpoint))) if checkpoint and not is_code(checkpoint) else None


def inference_folder(bundle_root: str) -> str:
    """Where an inference writes that was given no ``output_dir``: ``output/inference`` in the bundle.

    Of a bundle that was installed with the package, in the working directory.
    """
    folder = str(_base(bundle_root) / "inference")
    if running_workflow() is not None:
        logger.info(f"no output_dir is given: the results go into {_shown(folder, bundle_root)}")
    return folder


def _base(bundle_root: str) -> Path:
    return Path("output") if is_installed(Path(bundle_root)) else Path(bundle_root) / "output"


def _shown(folder: str, bundle_root: str) -> str:
    """A folder for the log: in full where it does not lie in the bundle, where one would look for it."""
    return str(Path(folder).absolute()) if is_installed(Path(bundle_root)) else folder


def from_rank_0(compute: Any) -> Any:
    """The result of ``compute()``, which in a distributed run the first process alone calls, for all of them."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return compute()
    result: list[Any] = [compute() if distributed.get_rank() == 0 else None]
    distributed.broadcast_object_list(result)
    return result[0]


def holds_run(folder: Path) -> list[str]:
    """What a run left in ``folder``; none where a start failed before it, which leaves its settings at most."""
    found = [name for name in _FILES if (folder / name).exists()]
    for name in _FOLDERS:
        place = folder / name
        if place.is_dir():
            found += [file.relative_to(folder).as_posix() for file in _kept(place)][:1]
    return found


def _kept(place: Path) -> list[Path]:
    files = (file for file in sorted(place.rglob("*")) if file.is_file() and not is_temporary(file))
    # the record of the patients is written when a run begins, beside its weights to be; a lock may be a killed run's
    return [file for file in files if file.name not in (*_OF_A_START, LOCK_NAME)]


def next_free(base: Path) -> Path:
    """``base``, or the first of ``base-2``, ``base-3`` ... behind all names that are taken."""
    taken = [number for number, path in _named_like(base) if not path.is_dir() or holds_run(path) or in_use(path)]
    number = max(taken, default=0) + 1
    return base if number == 1 else base.with_name(f"{base.name}-{number}")


def _latest(base: Path, bundle: str | None = None) -> Path:
    begun = [(n, path) for n, path in _named_like(base) if path.is_dir() and (holds_run(path) or _begun(path))]
    if bundle is not None:
        begun = [(n, path) for n, path in begun if _bundle_of(path) in (bundle, None)]
    return max(begun)[1] if begun else base


def _bundle_of(folder: Path) -> str | None:
    """Name of the bundle whose run a folder holds, by the record of the run; None where it does not tell."""
    try:
        settings = read_json(folder / SETTINGS).get("settings", {})
    except (OSError, ValueError, AttributeError):
        # a run that was killed before it wrote any
        return None
    root = settings.get("bundle_root") if isinstance(settings, dict) else None
    return Path(root).name if isinstance(root, str) else None


def _begun(folder: Path) -> bool:
    return (folder / SETTINGS).is_file() or in_use(folder)


def _named_like(base: Path) -> list[tuple[int, Path]]:
    if not base.parent.is_dir():
        return []
    pattern = re.compile(re.escape(base.name) + r"(?:-([1-9]\d*))?")
    matches = [(pattern.fullmatch(path.name), path) for path in base.parent.iterdir()]
    return [(int(match[1] or 1), path) for match, path in matches if match]


def refuse_earlier_run(folder: Path, weights: Sequence[str] = ()) -> None:
    """Refuse to begin a run where another one left its results.

    Args:
        folder: the output folder.
        weights: further folders for the weights of this run, wherever they are.

    Raises:
        RefusedStart: they hold a run; names what was found, and what can be done: going on with it where it left a
            checkpoint, leaving it as it is, or deleting it where it never finished an epoch.
    """
    found = holds_run(folder)
    elsewhere = [place for place in map(Path, weights) if not place.resolve().is_relative_to(folder.resolve())]
    for place in elsewhere:
        if place.is_dir():
            found += [str(file) for file in sorted(place.rglob("*.pt"))[:1]]
    if not found:
        return
    command = typed_command()
    another = shlex.join(with_options(command, output_dir=str(next_free(folder))))
    told = f"({', '.join(found[:3])}{', ...' if len(found) > 3 else ''})"
    if not _has_results(folder, elsewhere):
        raise RefusedStart(
            f"'{folder}' holds a run that never finished an epoch {told}, so there is nothing to continue; nothing in "
            f"it is overwritten. Delete the folder, or give another output_dir: {another}"
        )
    resume = shlex.join(with_options(command, resume="true"))
    go_on = f"To continue it: {resume} | " if _can_go_on(folder, elsewhere) else ""
    raise RefusedStart(
        f"'{folder}' holds an earlier run {told}; nothing in it is overwritten. {go_on}To leave it as it is: {another}"
    )


def _has_results(folder: Path, elsewhere: Sequence[Path]) -> bool:
    """Whether a run finished an epoch, of its own or of a teacher; its records alone are written before that."""
    history = folder / "metrics.jsonl"
    if history.is_file() and history.stat().st_size:
        return True
    return any(any(place.rglob("*.pt")) for place in (*(folder / name for name in _FOLDERS), *elsewhere))


def _can_go_on(folder: Path, elsewhere: Sequence[Path]) -> bool:
    """Whether a run left what ``resume`` begins with: a checkpoint, or a teacher that is trained already."""
    if any(any(place.rglob(RESUMED)) for place in (folder / "models", *elsewhere)):
        return True
    return any(any((folder / name).rglob("*.pt")) for name in _OF_TEACHERS)


def check_places(folder: Path) -> None:
    """Notice before a run what would stop it at its end: a place that cannot be written, or is of the wrong kind.

    Raises:
        RefusedStart: names the place and says what to do.
    """
    wrong = [
        (folder / name, "a file") for name in (*_FILES, *_OF_A_START, "models/model.pt") if (folder / name).is_dir()
    ]
    wrong += [(place, "a folder") for place in (folder, *(folder / n for n in _FOLDERS)) if place.is_file()]
    if wrong:
        place, wanted = wrong[0]
        raise RefusedStart(f"'{place}' is where {wanted} is to be written; move it, or give another output_dir.")
    try:
        refuse_unwritable(folder, "give another output_dir")
    except ValueError as error:
        raise RefusedStart(str(error)) from error
