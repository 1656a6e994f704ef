"""Volumes cut into slices on disk, each slice one run of bytes, with a table of what the slices hold."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from tqdm import tqdm

from ckdmed.checked_entries import SEAL, DamagedEntry, file_stamps, sealed, unsealed
from ckdmed.data.brats.case_files import SkippedCase
from ckdmed.data.brats.headers import VolumeFileError
from ckdmed.data.brats.masks import read_mask
from ckdmed.data.brats.one_grid import grid_problem
from ckdmed.data.brats.slice_arrays import array_problem, describe_array, new_array
from ckdmed.data.slice_geometry import SliceGeometry, spatial_geometry
from ckdmed.data.volume_reader import read_volume
from ckdmed.files import DiskFullError, write_json
from ckdmed.folders import files_below, refuse_source_folder, remove_leftover_folders, replaced_folder
from ckdmed.json_files import read_json
from ckdmed.labels import brats_labels
from ckdmed.paths import checked_name

__all__ = ["CACHED_LABELS", "TABLE_NAME", "build_slice_cache", "cache_case", "in_pool", "normalised"]

TABLE_NAME = "slices.json"
# Slices of every release leave the cache with the labels of 2023.
CACHED_LABELS = brats_labels(2023)
logger = logging.getLogger(__name__)

NORMALISATIONS = ("zscore", "unit", "none")
UNIT_PERCENTILES = (0.5, 99.5)
PLANES = ("axial", "coronal", "sagittal")
# Raised whenever the same input would give other files.
_VERSION = 2
_MARKS = frozenset(("case", "slices", "ncr", "ed", "et", "brain", "settings", "sources"))
_FILES = frozenset(("image.npy", "label.npy", TABLE_NAME))
_KEPT = (
    "case",
    "patient",
    "patient_group",
    "time_point",
    "tumour_type",
    "tumor_label",
    "release",
    "grade",
    "modalities",
)


def build_slice_cache(
    items: Sequence[Mapping[str, Any]],
    cache_dir: PathLike,
    plane: str = "axial",
    normalise: str | Callable[[np.ndarray], np.ndarray] = "zscore",
    dtype: str = "float16",
    workers: int = 1,
    progress: bool = True,
    source_dir: PathLike | None = None,
    thorough: bool = False,
) -> tuple[list[Path], list[SkippedCase]]:
    """Cut cases into slices; existing ones that are intact and were made from the same files in the same way are kept.

    For each case a folder `<case>/` with `image.npy` (S, C, rows, columns), `label.npy` (S, rows, columns; where there
    is a mask) and `slices.json`: the case's names, and of each slice the voxels of NCR, ED, ET and brain. Slices are
    upright as a radiologist sees them, masks have the labels of 2023. A folder appears whole or not at all.

    Args:
        items: see `load_brats_datalist`; whole paths.
        cache_dir: made if absent. One case of 240 x 240 x 155 with four modalities takes 80 MB as float16.
        plane: "axial" (default), "coronal" or "sagittal".
        normalise: over the brain (values other than 0) of each modality's volume, 0 outside: "zscore" (default), or
            "unit" for [0, 1] between its 0.5th and 99.5th percentile, cut off beyond; or "none". Or what makes other
            values of one modality's slices (S, rows, columns): its ``str`` names them in the cache, and processes
            unpickle it.
        dtype: "float16" (default; z-scores lose the fourth digit) or "float32".
        workers: processes. Each needs 0.5 GB for cases of the usual size. Default 1: this process.
        progress: whether to show a bar.
        thorough: whether to read all slices that are there and compare them with their checksums. By default only where
            an array was written to after its table; each slice is checked when it is read in any case.
        source_dir: the folder that the items' paths were joined to, which is no place for a cache; None: not known.

    Returns:
        the folders, in the order of the items, and the cases left out with the cause, among them those whose place is
        taken by something else than an earlier `slices.json` and its arrays.

    Raises:
        ValueError: an argument out of its range, two items of one case, a case that cannot be a folder's name
            (`checked_name`), a cache among the images (`refuse_source_folder`).
        DiskFullError: there is no room for the next case.
    """
    if plane not in PLANES:
        raise ValueError(f"plane must be one of {', '.join(PLANES)}, got {plane!r}.")
    if isinstance(normalise, str):
        _check_normalisation(normalise)
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype must be 'float16' or 'float32', got {dtype!r}.")
    names = [checked_name(item["case"], "the case") for item in items]
    if len(set(names)) != len(names):
        raise ValueError("two items have the same case; a cache holds each case once.")
    folder = Path(cache_dir)
    images = {name: [Path(path) for path in item["image"]] for name, item in zip(names, items, strict=True)}
    masks = {name: Path(item["label"]) for name, item in zip(names, items, strict=True) if "label" in item}
    refuse_source_folder(folder, images, [] if source_dir is None else [Path(source_dir)], masks)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftover_folders(folder, names)
    settings = {"version": _VERSION, "plane": plane, "normalise": str(normalise), "dtype": dtype}
    scale = partial(normalised, how=normalise) if isinstance(normalise, str) else normalise
    tasks = [(dict(item), folder, settings, scale, thorough) for item in items]
    results = in_pool(cache_case, tasks, workers, "slicing cases", progress)
    made: list[Path] = []
    skipped: list[SkippedCase] = []
    for name, error in zip(names, results, strict=True):
        if error is None:
            made.append(folder / name)
        else:
            skipped.append(SkippedCase(name, error))
    return made, skipped


def cache_case(
    item: Mapping[str, Any],
    folder: Path,
    settings: Mapping[str, Any],
    scale: Callable[[np.ndarray], np.ndarray],
    thorough: bool = False,
) -> str | None:
    """Cut one case, unless its folder is up to date; the cause where that fails, else None."""
    name = checked_name(item["case"], "the case")
    try:
        sources = _fingerprint(item)
        problem = _changed(folder / name, settings, sources, thorough)
        if problem == "":
            return None
        if problem:
            logger.warning(f"{folder / name}: {problem}; the case is sliced again.")
        if apart := grid_problem(item):
            raise VolumeFileError(f"{name}: {apart}.")
        with replaced_folder(folder, name, _foreign) as temporary:
            _write_case(item, temporary, settings, scale, sources)
    except DiskFullError:
        # the next cases would meet it as well
        raise
    except (ValueError, OSError) as error:
        return " ".join(str(error).split())
    return None


def _foreign(folder: Path) -> str | None:
    """What in a folder is none of a cache's; a table that is damaged still counts as one beside its arrays."""
    there = files_below(folder)
    if TABLE_NAME not in there:
        return f"it holds {there[0]} but no {TABLE_NAME}"
    if others := [name for name in there if name not in _FILES]:
        return f"it holds {others[0]}, which is not part of a cache"
    try:
        table = read_json(folder / TABLE_NAME)
    except ValueError:
        return None if "image.npy" in there else f"its {TABLE_NAME} is not a table of slices"
    known = len(_MARKS.intersection(table)) if isinstance(table, dict) else 0
    # most of them, or the checksum of such a table: a name may be damaged, or several lost
    sealed_once = known and SEAL in table and "image.npy" in there
    return None if sealed_once or known > len(_MARKS) // 2 else f"its {TABLE_NAME} is not a table of slices"


def _fingerprint(item: Mapping[str, Any]) -> str:
    """Changes when a file of the case is replaced, see `file_stamps`."""
    stamps = file_stamps([*item["image"], *([item["label"]] if "label" in item else [])])
    names = [(key, item.get(key)) for key in _KEPT]
    return hashlib.sha256(json.dumps([stamps, names], default=str).encode()).hexdigest()


def _changed(target: Path, settings: Mapping[str, Any], sources: str, thorough: bool) -> str | None:
    """What is wrong with a case that was cut from these files in this way: "" for nothing. None for any other case.

    An array that was written to after its table is read as a whole, once: then its table is marked as the younger.
    """
    path = target / TABLE_NAME
    try:
        table = unsealed(path)
    except FileNotFoundError:
        return f"{TABLE_NAME} is missing" if target.is_dir() and any(target.iterdir()) else None
    except DamagedEntry as error:
        return str(error)
    if table.get("settings") != dict(settings) or table.get("sources") != sources:
        return None
    written = os.stat(path).st_ctime_ns
    checked = False
    for name, entry in table["arrays"].items():
        array = target / name
        younger = array.is_file() and os.stat(array).st_ctime_ns >= written
        if problem := array_problem(array, entry, thorough or younger):
            return problem
        checked = checked or younger
    if checked and os.access(path, os.W_OK):
        os.utime(path)
    return ""


def _write_case(
    item: Mapping[str, Any],
    folder: Path,
    settings: Mapping[str, Any],
    scale: Callable[[np.ndarray], np.ndarray],
    sources: str,
) -> None:
    geometry, brain = _write_images(item, folder, settings, scale)
    counts = np.zeros((len(brain), 3), np.int64)
    arrays = ["image.npy", "label.npy"][: 1 + ("label" in item)]
    if "label" in item:
        label = _label_slices(item, geometry)
        np.save(folder / "label.npy", label)
        values = (CACHED_LABELS.ncr, CACHED_LABELS.ed, CACHED_LABELS.et)
        counts = np.stack([(label == value).sum(axis=(1, 2)) for value in values], axis=1)
    table = {
        **{key: item[key] for key in _KEPT},
        "has_label": "label" in item,
        "slices": len(brain),
        "ncr": counts[:, 0].tolist(),
        "ed": counts[:, 1].tolist(),
        "et": counts[:, 2].tolist(),
        "brain": brain.sum(axis=(1, 2)).tolist(),
        "geometry": json.loads(geometry.to_text()),
        "settings": dict(settings),
        "sources": sources,
        "arrays": {name: describe_array(folder / name) for name in arrays},
    }
    write_json(folder / TABLE_NAME, sealed(table))


def _write_images(
    item: Mapping[str, Any], folder: Path, settings: Mapping[str, Any], scale: Callable[[np.ndarray], np.ndarray]
) -> tuple[SliceGeometry, np.ndarray]:
    """Write `image.npy`, one modality at a time in memory; return the geometry and the brain (S, rows, columns)."""
    names = list(item["modalities"])
    geometry: SliceGeometry | None = None
    brain = np.zeros((0, 0, 0), bool)
    written = 0
    for path, channel, affine in _channels(item):
        if geometry is None:
            geometry = spatial_geometry("nifti", channel.shape, affine, settings["plane"])
            brain = np.zeros(geometry.to_slices(channel).shape, bool)
            shape = (len(brain), len(names), *brain.shape[1:])
            image = new_array(folder / "image.npy", np.dtype(settings["dtype"]), shape)
        if channel.shape != geometry.shape or written >= len(names):
            raise VolumeFileError(
                f"{path}: has shape {channel.shape} as channel {written + 1}; expected {len(names)} channels of shape "
                f"{geometry.shape}."
            )
        slices = geometry.to_slices(channel)
        brain |= slices != 0
        with np.errstate(over="ignore"):
            image[:, written] = scale(slices)
        if not np.isfinite(image[:, written]).all():
            raise VolumeFileError(f"{path}: has values too large for float16; use float32 or z-scores.")
        written += 1
    if geometry is None or written != len(names):
        raise VolumeFileError(f"{item['case']}: {written} channels for {len(names)} modalities.")
    image.flush()
    return geometry, brain


def _channels(item: Mapping[str, Any]) -> Iterator[tuple[Path, np.ndarray, np.ndarray]]:
    for path in map(Path, item["image"]):
        volume, affine = read_volume(path)
        for channel in np.moveaxis(volume, 3, 0) if volume.ndim == 4 else (volume,):
            yield path, channel, affine


def _label_slices(item: Mapping[str, Any], geometry: SliceGeometry) -> np.ndarray:
    mask = read_mask(item["label"])
    if mask.shape != geometry.shape:
        raise VolumeFileError(f"{item['label']}: its grid is {mask.shape}, but that of the images is {geometry.shape}.")
    table = brats_labels(item["release"], item["tumour_type"])
    if unknown := table.unknown(np.unique(mask)):
        raise VolumeFileError(f"{item['label']}: holds {unknown[:5]}, not among the labels of BraTS {item['release']}.")
    return np.ascontiguousarray(geometry.to_slices(table.convert(mask, CACHED_LABELS)))


def normalised(volume: np.ndarray, how: str = "zscore") -> np.ndarray:
    """One modality's volume, or its slices, as `build_slice_cache` writes them.

    Args:
        volume: values of any shape; those other than 0 are the brain.
        how: "zscore", "unit" or "none".

    Raises:
        ValueError: another word.
    """
    _check_normalisation(how)
    inside = volume != 0
    values = volume[inside].astype(np.float64)
    out = np.zeros(volume.shape, np.float32)
    if how == "none" or not values.size:
        return volume if how == "none" else out
    # A constant brain has no spread but that of rounding.
    constant = values.min() == values.max()
    if how == "zscore":
        out[inside] = (values - values.mean()) / (1.0 if constant else values.std())
    elif not constant:
        low, high = np.percentile(values, UNIT_PERCENTILES)
        out[inside] = np.clip((values - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1)
    return out


def _check_normalisation(how: str) -> None:
    if how not in NORMALISATIONS:
        raise ValueError(f"normalise must be one of {', '.join(NORMALISATIONS)}, got {how!r}.")


def in_pool(
    work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int, title: str, progress: bool
) -> list[Any]:
    """`work(*task)` for each task, in order, in processes of their own where `workers` is above 1.

    Raises:
        ValueError: `workers` is below 1.
        RuntimeError: a process died; too little memory is the commonest cause.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}.")
    bar = tqdm(total=len(tasks), desc=title, unit="case", disable=not progress)
    results: list[Any] = [None] * len(tasks)
    with bar:
        if workers == 1 or len(tasks) < 2:
            for number, task in enumerate(tasks):
                results[number] = work(*task)
                bar.update()
            return results
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor, as_completed
        from concurrent.futures.process import BrokenProcessPool

        # Spawned: a fork of a process whose libraries run threads may hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_begin_worker) as pool:
            futures = {pool.submit(work, *task): number for number, task in enumerate(tasks)}
            try:
                for future in as_completed(futures):
                    results[futures[future]] = future.result()
                    bar.update()
            except BrokenProcessPool as error:
                raise RuntimeError(
                    "a worker process died, most likely for lack of memory; use fewer workers. Finished cases are kept."
                ) from error
    return results


def _begin_worker() -> None:
    import multiprocessing
    from multiprocessing.connection import wait
    from threading import Thread

    import torch

    torch.set_num_threads(1)
    if (parent := multiprocessing.parent_process()) is not None:
        # a pool's processes wait for work for ever where their parent was killed
        Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
