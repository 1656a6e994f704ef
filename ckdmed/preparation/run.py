"""Preparing many cases, in parallel, each whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai.config import PathLike

from ckdmed.data.brats.releases import decided_releases, labels_of
from ckdmed.data.brats.slice_cache import in_pool
from ckdmed.data.input_walk import PREPARED_RECORD
from ckdmed.data.written_files import is_whole_file
from ckdmed.file_hash import content_mark_of_image, sha256_of
from ckdmed.files import DiskFullError, write_json
from ckdmed.folders import (
    files_below,
    refuse_source_folder,
    refuse_unwritable,
    remove_leftover_folders,
    replaced_folder,
)
from ckdmed.json_files import read_json
from ckdmed.paths import checked_name
from ckdmed.preparation.case import prepare_volume
from ckdmed.preparation.inputs import CaseInput
from ckdmed.preparation.outputs import write_volume
from ckdmed.preparation.picture import draw_summary
from ckdmed.preparation.registration_files import CHECKERBOARD, draw_checkerboards, fit_text, write_registrations
from ckdmed.preparation.sequence_doubts import sequence_doubts
from ckdmed.preparation.settings import PreparationSettings

__all__ = ["RECORD_NAME", "CaseResult", "prepare_cases"]

RECORD_NAME = PREPARED_RECORD
_OUTPUTS = "outputs"


@dataclass(frozen=True)
class CaseResult:
    """What became of a case.

    Args:
        case: its name.
        status: "prepared", "kept" (was there already, from the same files with the same settings) or "refused".
        message: shape and spacing, or the cause.
        seconds: that it took.
        doubts: a part of a sentence on each image that says to be another than it was taken for (`sequence_doubts`),
            and on each mask that may be drawn on another; they stand in the message too.
    """

    case: str
    status: str
    message: str
    seconds: float
    doubts: tuple[str, ...] = ()


def prepare_cases(
    inputs: Sequence[CaseInput],
    out: PathLike,
    settings: PreparationSettings | None = None,
    workers: int = 1,
    progress: bool = True,
    given: Sequence[Path] = (),
) -> list[CaseResult]:
    """Prepare cases into `<out>/<case>/`; a case that cannot be used is refused and the rest goes on.

    A folder is written under a temporary name and renamed when it is complete, with `prepared.json` (settings, files
    and a mark of their contents, grid, and size and SHA-256 of all that was written) and `summary.png`. What is there
    already, unchanged, and was made from the same files with the same settings is kept, so an interrupted run is
    continued by running it again. Any other folder of that name is replaced only if its `prepared.json` names all that
    is in it and no file of it was changed since; else the case is refused.

    Args:
        inputs: see `find_inputs` and `single_input`.
        out: made if absent.
        settings: None for the defaults.
        workers: processes; each needs about 1.5 GB for four modalities of 240 x 240 x 155. Default 1: this process.
        progress: whether to show a bar.
        given: the folders in which the inputs were found.

    Returns:
        a result for each input, in their order.

    Raises:
        OpenReleaseError: names and labels leave open whose labels the masks have, and the settings do not say it (see
            `decided_releases`).
        ValueError: `workers` is below 1, two inputs have one case name, or `out` is among the sources
            (`refuse_source_folder`) or cannot be created.
        DiskFullError: there is no room for the next case.
        RuntimeError: a worker process died.
    """
    chosen = settings or PreparationSettings()
    folder = Path(out)
    if len({item.case for item in inputs}) != len(inputs):
        raise ValueError("two inputs have the same case name; they would be written to the same folder.")
    images = {item.case: list(item.images.values()) for item in inputs}
    masks = {f"{item.case} {key}": path for item in inputs for key, path in _masks(item).items()}
    refuse_source_folder(folder, images, given, masks)
    if not folder.is_dir():
        # in one that may only be read, what was prepared before is still kept
        refuse_unwritable(folder)
    inputs = _with_releases(inputs, chosen.release)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftover_folders(folder, images)
    tasks = [(item, folder, chosen) for item in inputs]
    return in_pool(_prepare, tasks, workers, "preparing", progress)


def _with_releases(inputs: Sequence[CaseInput], release: str | None) -> list[CaseInput]:
    """The inputs with the release of their masks; what a name that is none of BraTS leaves open stays open."""
    with_release = [item for item in inputs if item.release or release]
    labels = labels_of(with_release, {item.case: item.label for item in with_release}, release)
    decided = decided_releases(with_release, labels, release)
    return [replace(item, release=decided.get(item.case, item.release)) for item in inputs]


def _prepare(item: CaseInput, folder: Path, settings: PreparationSettings) -> CaseResult:
    start = time.perf_counter()
    try:
        record: dict[str, Any] = {"settings": settings.as_json(), "sources": _fingerprint(item)}
        target = folder / checked_name(item.case, "the case")
        changed = _changed(target, record)
        status, message = "kept", "was prepared before"
        doubts = sequence_doubts(item.images)
        if changed != "":
            with replaced_folder(folder, item.case, _foreign) as temporary:
                message, others = _fill(temporary, item, settings, record)
            status, doubts = "prepared", (*doubts, *others)
        if changed:
            message = f"{message}; made again because {changed}"
        message = "; ".join([message, *doubts])
        return CaseResult(item.case, status, message, time.perf_counter() - start, doubts)
    except DiskFullError:
        # the next cases would meet it as well
        raise
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        return CaseResult(item.case, "refused", text, time.perf_counter() - start)


def _fill(
    temporary: Path, item: CaseInput, settings: PreparationSettings, record: dict[str, Any]
) -> tuple[str, tuple[str, ...]]:
    """Prepare a case; returns what to say of it, and what is in doubt."""
    volume = prepare_volume(item, settings)
    write_volume(volume, temporary, item.case, settings)
    if settings.picture:
        draw_summary(volume, temporary / "summary.png", item.case)
    if volume.registrations:
        reference = settings.reference or volume.modalities[0]
        record["registration"] = write_registrations(volume.registrations, reference, temporary)
        draw_checkerboards(volume, reference, temporary / CHECKERBOARD, item.case)
    spacing = [round(float(sum(v * v for v in column) ** 0.5), 4) for column in volume.affine[:3, :3].T]
    record |= {
        "case": item.case,
        "patient": item.patient,
        "tumour_type": item.tumour_type,
        "modalities": list(volume.modalities),
        # `restore-mask` may run in another folder
        "files": {key: os.path.abspath(path) for key, path in _files(item).items()},
        "contents": {key: content_mark_of_image(path) for key, path in _files(item).items()},
        "shape": list(volume.brain.shape),
        "spacing_mm": spacing,
        "affine": volume.affine.tolist(),
        "covered": {modality: round(share, 4) for modality, share in volume.covered.items()},
        "brain_voxels": int((volume.brain != 0).sum()),
        "label_release": None if volume.table is None else volume.table.release,
        "tumour_voxels": None if volume.label is None else int((volume.label != 0).sum()),
    }
    record[_OUTPUTS] = {
        name: {"bytes": (temporary / name).stat().st_size, "sha256": sha256_of(temporary / name)}
        for name in files_below(temporary)
    }
    write_json(temporary / RECORD_NAME, record)
    parts = [f"{modality} covers {share:.0%} of the brain" for modality, share in volume.covered.items() if share < 0.9]
    if volume.label_kept < 0.9:
        parts.append(f"the mask keeps {volume.label_kept:.0%} of its volume")
    grid = f"{' x '.join(map(str, volume.brain.shape))} voxels of {' x '.join(f'{v:g}' for v in spacing)} mm"
    parts += [f"{modality} {fit_text(fit)}" for modality, fit in volume.registrations.items()]
    return "; ".join([grid, *parts]), volume.doubts


def _files(item: CaseInput) -> dict[str, Path]:
    return {**item.images, **_masks(item)}


def _masks(item: CaseInput) -> dict[str, Path]:
    return {key: path for key, path in (("label", item.label), ("brain", item.brain)) if path is not None}


def _fingerprint(item: CaseInput) -> str:
    """Changes when a file of the case is replaced; one of equal size and time of change is not noticed."""
    stats = []
    for key, path in _files(item).items():
        members = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
        for member in members:
            stat = member.stat()
            stats.append([key, str(member), stat.st_size, stat.st_mtime_ns])
    names = [item.case, item.release, item.tumour_type, item.patient, list(item.channels)]
    return hashlib.sha256(json.dumps([stats, names]).encode()).hexdigest()


def _changed(target: Path, record: dict[str, Any]) -> str | None:
    """What differs in a folder that was made from the same files with the same settings, "" for nothing, else None."""
    found = _read_record(target)
    if found is None or any(found.get(key) != record[key] for key in ("settings", "sources")):
        return None
    for name, state in found[_OUTPUTS].items():
        path = target / name
        if not path.is_file():
            return f"{name} was missing"
        if not _as_written(path, state):
            return f"{name} had been changed or damaged"
    return ""


def _foreign(folder: Path) -> str | None:
    """What in a folder is nothing that was prepared, or was changed since."""
    there = files_below(folder)
    found = _read_record(folder)
    if found is None:
        return f"it holds {there[0]} but no {RECORD_NAME} that names it"
    others = [name for name in there if name != RECORD_NAME and name not in found[_OUTPUTS]]
    if others:
        return f"it holds {others[0]}, which was not prepared"
    changed = (name for name, state in found[_OUTPUTS].items() if name in there and _is_edited(folder / name, state))
    name = next(changed, None)
    return None if name is None else f"it holds {name}, which was changed after it was written"


def _is_edited(path: Path, state: dict[str, Any]) -> bool:
    """Whether somebody may have corrected a file, such as a mask; what is damaged cannot be read."""
    return not _as_written(path, state) and is_whole_file(path)


def _as_written(path: Path, state: dict[str, Any]) -> bool:
    return bool(path.stat().st_size == state["bytes"] and sha256_of(path) == state["sha256"])


def _read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a folder that was prepared; None where there is none, or none that says what was written."""
    try:
        found = read_json(folder / RECORD_NAME)
        states = found[_OUTPUTS].values()
        whole = all(isinstance(state["bytes"], int) and isinstance(state["sha256"], str) for state in states)
        return found if whole and {"settings", "sources", "case"} <= set(found) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
