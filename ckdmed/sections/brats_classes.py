"""The data of the classification bundles on BraTS: slices of cases with what their mask or their name says."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import distributed

from ckdmed.counted import counted
from ckdmed.data.brats import SkippedCase, SliceIndex, build_slice_cache
from ckdmed.labels import SLICE_CATEGORIES, TUMOUR_TYPES
from ckdmed.sections.brats import brats_sections
from ckdmed.sections.record import NEW

__all__ = ["BRATS_TASKS", "brats_classes"]

BRATS_TASKS = ("brats_slice", "brats_type")
logger = logging.getLogger(__name__)


def brats_classes(
    task: str,
    dataset_dir: str | None,
    phantom_dir: str,
    cache_dir: str,
    class_names: Sequence[str],
    modalities: Sequence[str] = ("t1c",),
    min_voxels: int = 1,
    label_fraction: float = 1.0,
    split_seed: int = 0,
    phantom_cases: int = 40,
    phantom_shape: Sequence[int] = (64, 64, 32),
    checkpoint: str | None = None,
    teacher_folds: int = 1,
) -> dict[str, list[dict[str, Any]]]:
    """Sections of slices: ``label`` is the class of the slice, or of its case.

    Cases are split by patient and cut into a slice cache, one below ``cache_dir`` for each choice of modalities, whose
    images lie in [0, 1] over the brain of their volume. Slices without brain are left out.

    ============  =========================================================================================
    task          label of a slice
    ============  =========================================================================================
    brats_slice   0 no tumour, 1 oedema only, 2 core, 3 enhancing, by the mask (`ckdmed.labels.slice_category`)
    brats_type    the position of the case's tumour type in ``class_names``; slices without tumour are left out
    ============  =========================================================================================

    Args:
        task: "brats_slice" or "brats_type".
        dataset_dir, phantom_dir, label_fraction, split_seed, phantom_cases, phantom_shape, checkpoint, teacher_folds:
            as :func:`~ckdmed.bundle.brats_sections`. Slices of cases whose masks are not used are taken, unlabelled.
        cache_dir: for the slices; what is up to date there is kept.
        class_names: of "brats_type" those tumour types that are told apart, two or more of GLI, MEN, MET, PED and SSA;
            cases of others are left out. Of "brats_slice" the four names.
        modalities: t1n, t1c, t2w, t2f or some of them, in the order of the channels.
        min_voxels: fewest voxels of a label that count as present in a slice.

    Returns:
        "train", "validation", "test" -> items with ``image`` (the case's cached slices) and ``slice`` (for
        :class:`~ckdmed.data.brats.LoadCachedSliced`), ``label``, ``labelled``, ``id``, ``case``, ``patient`` and
        ``patient_group``.

    Raises:
        ValueError: another task, class names that do not fit it, a tumour type without a labelled training slice, no
            slice left for training or validation; as :func:`~ckdmed.bundle.brats_sections`.
    """
    names = [str(name) for name in class_names]
    _check(task, names)
    sections = brats_sections(
        dataset_dir,
        phantom_dir,
        modalities=modalities,
        label_fraction=label_fraction,
        split_seed=split_seed,
        phantom_cases=phantom_cases,
        phantom_shape=phantom_shape,
        phantom_types=names if task == "brats_type" else ("GLI",),
        checkpoint=checkpoint,
        teacher_folds=teacher_folds,
    )
    if task == "brats_type":
        sections = {key: _of_types(items, names, key) for key, items in sections.items()}
    folder = Path(cache_dir) / ("brats-" + "-".join(modalities))
    cached = _cut([item for items in sections.values() for item in items], folder)
    slices = {
        key: _slices([item for item in items if item["case"] in cached], folder, task, names, min_voxels)
        for key, items in sections.items()
    }
    # what is scored by a record needs no slice to train on
    recorded = NEW in sections
    for key in ("train", "validation"):
        if not slices[key] and not recorded:
            raise ValueError(f"{folder}: no slice is left for the {key} section.")
    _report(slices, names, training=not recorded)
    return slices


def _check(task: str, names: Sequence[str]) -> None:
    if task not in BRATS_TASKS:
        raise ValueError(f"task must be one of {', '.join(BRATS_TASKS)}, got {task!r}.")
    if task == "brats_slice" and len(names) != len(SLICE_CATEGORIES):
        raise ValueError(
            f"class_names of brats_slice must be names for {', '.join(SLICE_CATEGORIES)} in this order, got {names}."
        )
    if task == "brats_type" and (len(set(names)) < 2 or len(set(names)) < len(names) or set(names) - set(TUMOUR_TYPES)):
        raise ValueError(
            f"class_names of brats_type must be two or more of {', '.join(TUMOUR_TYPES)}, each once, got {names}."
        )


def _of_types(items: Sequence[dict[str, Any]], names: Sequence[str], section: str) -> list[dict[str, Any]]:
    kept = [item for item in items if item["tumour_type"] in names]
    if len(kept) < len(items):
        others = sorted({str(item["tumour_type"]) for item in items} - set(names))
        logger.info(
            f"{section}: left out {counted(len(items) - len(kept), 'case')} of {', '.join(others)}, which class_names "
            "does not include"
        )
    return kept


def _cut(items: Sequence[Mapping[str, Any]], folder: Path) -> set[str]:
    """Build the cache, by one process of a distributed run; the names of the cases that are in it."""
    skipped: list[SkippedCase] = []
    if not distributed.is_initialized() or distributed.get_rank() == 0:
        _, skipped = build_slice_cache(items, folder, normalise="unit")
    if distributed.is_initialized():
        # what one process could not cut must be missing for all of them
        shared: list[Any] = [skipped]
        distributed.broadcast_object_list(shared)
        skipped = shared[0]
    if skipped:
        reasons = "\n".join(f"  {entry.case}: {entry.reason}" for entry in skipped[:10])
        warnings.warn(f"{counted(len(skipped), 'case')} could not be cut into slices:\n{reasons}", stacklevel=3)
    return {str(item["case"]) for item in items} - {entry.case for entry in skipped}


def _slices(
    items: Sequence[Mapping[str, Any]], folder: Path, task: str, names: Sequence[str], min_voxels: int
) -> list[dict[str, Any]]:
    if not items:
        return []
    index = SliceIndex.read(folder, [str(item["case"]) for item in items])
    categories = index.categories(min_voxels)
    found = []
    for which, number, category in zip(index.case, index.number, categories, strict=True):
        item = items[int(which)]
        labelled = bool(item["labelled"] and category >= 0)
        if task == "brats_type":
            label = list(names).index(str(item["tumour_type"]))
            if labelled and category == 0:
                continue
        else:
            label = max(int(category), 0)
        found.append(
            {
                "image": str(index.folders[int(which)] / "image.npy"),
                "slice": int(number),
                "label": label,
                "labelled": labelled,
                "id": f"{item['case']}:{number}",
                **{key: str(item[key]) for key in ("case", "patient", "patient_group")},
            }
        )
    return found


def _report(slices: Mapping[str, Sequence[Mapping[str, Any]]], names: Sequence[str], training: bool) -> None:
    for key, items in slices.items():
        counts = np.bincount([item["label"] for item in items if item["labelled"]], minlength=len(names))
        words = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
        logger.info(f"{key}: {counted(len(items), 'slice')} ({words})")
        if training and key == "train" and (counts == 0).any():
            missing = ", ".join(name for name, count in zip(names, counts, strict=True) if not count)
            there = [name for name, count in zip(names, counts, strict=True) if count]
            text = f"no labelled training slice has the class {missing}"
            if set(names) <= set(TUMOUR_TYPES):
                raise ValueError(f"{text}; add cases of it, or give only the types that exist as class_names: {there}.")
            warnings.warn(f"{text}: it cannot be learned from these cases.", stacklevel=3)
