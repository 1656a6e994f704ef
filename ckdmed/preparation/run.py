"""Preparing many cases, in parallel, each whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.config import PathLike

from ckdmed.data.brats.slice_cache import in_pool
from ckdmed.files import write_json
from ckdmed.preparation.case import prepare_volume
from ckdmed.preparation.inputs import CaseInput
from ckdmed.preparation.outputs import write_volume
from ckdmed.preparation.picture import draw_summary
from ckdmed.preparation.settings import PreparationSettings

__all__ = ["RECORD_NAME", "CaseResult", "prepare_cases"]

RECORD_NAME = "prepared.json"


@dataclass(frozen=True)
class CaseResult:
    """What became of a case.

    Args:
        case: its name.
        status: "prepared", "kept" (was there already, from the same files with the same settings) or "refused".
        message: shape and spacing, or the cause.
        seconds: that it took.
    """

    case: str
    status: str
    message: str
    seconds: float


def prepare_cases(
    inputs: Sequence[CaseInput],
    out: PathLike,
    settings: PreparationSettings | None = None,
    workers: int = 1,
    progress: bool = True,
) -> list[CaseResult]:
    """Prepare cases into `<out>/<case>/`; a case that cannot be used is refused and the rest goes on.

    A folder is written under a temporary name and renamed when it is complete, with `prepared.json` (settings, files,
    grid) and `summary.png`. What is there already and was made from the same files with the same settings is kept, so
    a broken-off run is taken up by running it again.

    Args:
        inputs: see `find_inputs` and `single_input`.
        out: made if absent.
        settings: None for the defaults.
        workers: processes; each needs about 1.5 GB for four modalities of 240 x 240 x 155. Default 1: this process.
        progress: whether to show a bar.

    Returns:
        a result for each input, in their order.

    Raises:
        ValueError: `workers` is below 1, or two inputs have one case name.
        RuntimeError: a worker process died.
    """
    chosen = settings or PreparationSettings()
    folder = Path(out)
    if len({item.case for item in inputs}) != len(inputs):
        raise ValueError("two inputs have one case name; they would be written to one folder.")
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [(item, folder, chosen) for item in inputs]
    return in_pool(_prepare, tasks, workers, "preparing", progress)


def _prepare(item: CaseInput, folder: Path, settings: PreparationSettings) -> CaseResult:
    start = time.perf_counter()
    target = folder / item.case
    try:
        record: dict[str, Any] = {"settings": settings.as_json(), "sources": _fingerprint(item)}
        if _is_current(target, record):
            return CaseResult(item.case, "kept", "was prepared before", time.perf_counter() - start)
        # A run that was killed leaves its temporary folder.
        for stale in folder.glob(f".{item.case}.part-*"):
            shutil.rmtree(stale, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{item.case}.part-", dir=folder))
        try:
            message = _fill(temporary, item, settings, record)
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o777 & ~umask)
            if target.exists():
                shutil.rmtree(target)
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return CaseResult(item.case, "prepared", message, time.perf_counter() - start)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        return CaseResult(item.case, "refused", text, time.perf_counter() - start)


def _fill(temporary: Path, item: CaseInput, settings: PreparationSettings, record: dict[str, Any]) -> str:
    volume = prepare_volume(item, settings)
    write_volume(volume, temporary, item.case, settings)
    if settings.picture:
        draw_summary(volume, temporary / "summary.png", item.case)
    spacing = [round(float(sum(v * v for v in column) ** 0.5), 4) for column in volume.affine[:3, :3].T]
    record |= {
        "case": item.case,
        "patient": item.patient,
        "tumour_type": item.tumour_type,
        "modalities": list(volume.modalities),
        "files": {key: str(path) for key, path in _files(item).items()},
        "shape": list(volume.brain.shape),
        "spacing_mm": spacing,
        "affine": volume.affine.tolist(),
        "brain_voxels": int((volume.brain != 0).sum()),
        "label_release": None if volume.table is None else volume.table.release,
        "tumour_voxels": None if volume.label is None else int((volume.label != 0).sum()),
    }
    write_json(temporary / RECORD_NAME, record)
    return f"{' x '.join(map(str, volume.brain.shape))} voxels of {' x '.join(f'{v:g}' for v in spacing)} mm"


def _files(item: CaseInput) -> dict[str, Path]:
    masks = {"label": item.label, "brain": item.brain}
    return {**item.images, **{key: path for key, path in masks.items() if path is not None}}


def _fingerprint(item: CaseInput) -> str:
    """Changes when a file of the case is replaced."""
    stats = []
    for key, path in _files(item).items():
        members = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
        for member in members:
            stat = member.stat()
            stats.append([key, str(member), stat.st_size, stat.st_mtime_ns])
    names = [item.case, item.release, item.tumour_type, item.patient, list(item.channels)]
    return hashlib.sha256(json.dumps([stats, names]).encode()).hexdigest()


def _is_current(target: Path, record: dict[str, Any]) -> bool:
    try:
        found = json.loads((target / RECORD_NAME).read_text(encoding="utf-8"))
        return all(found[key] == record[key] for key in ("settings", "sources"))
    except (OSError, ValueError, KeyError, TypeError):
        return False
