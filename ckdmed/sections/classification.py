"""The data of the classification bundles: slices with the class of their tumour."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from torch import distributed

from ckdmed.data.brats import BalancedSliceSampler
from ckdmed.data.splits import k_folds
from ckdmed.labels import SLICE_CATEGORIES, TUMOUR_TYPES
from ckdmed.sections.brats_classes import BRATS_TASKS, brats_classes
from ckdmed.sections.record import NEW
from ckdmed.sections.slices import figshare_sections

__all__ = [
    "CLASS_NAMES",
    "TASKS",
    "balanced_sampler",
    "class_names_of",
    "class_of",
    "classification_sections",
    "figshare_classes",
]

CLASS_NAMES = ("meningioma", "glioma", "pituitary tumour")
TASKS = ("figshare", *BRATS_TASKS)
logger = logging.getLogger(__name__)

_KEPT = ("id", "image", "slice", "labelled", "patient", "patient_group")


def class_names_of(task: str) -> list[str]:
    """The classes of a task: "figshare" (the tumour's kind), "brats_slice" or "brats_type".

    Raises:
        ValueError: another task.
    """
    names = {"figshare": CLASS_NAMES, "brats_slice": SLICE_CATEGORIES, "brats_type": TUMOUR_TYPES}
    if task not in names:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}.")
    return list(names[task])


def classification_sections(
    task: str,
    dataset_dir: str | None,
    phantom_dir: str,
    cache_dir: str,
    class_names: Sequence[str],
    modalities: Sequence[str] = ("t1c",),
    min_voxels: int = 1,
    label_fraction: float = 1.0,
    split_seed: int = 0,
    fold: int | None = None,
    n_folds: int = 5,
    fold_source: str = "group",
    phantom_patients: int = 60,
    phantom_size: int = 128,
    phantom_slices: Sequence[int] = (3, 6),
    phantom_cases: int = 40,
    phantom_shape: Sequence[int] = (64, 64, 32),
    checkpoint: str | None = None,
    teacher_folds: int = 1,
) -> dict[str, list[dict[str, Any]]]:
    """What a classification bundle trains, validates and tests on, by its setting ``task``.

    Args:
        task: "figshare" for :func:`figshare_classes`; "brats_slice" or "brats_type" for
            :func:`~ckdmed.sections.brats_classes.brats_classes`.
        dataset_dir, phantom_dir, class_names, label_fraction, split_seed, checkpoint, teacher_folds: of either.
        fold, n_folds, fold_source, phantom_patients, phantom_size, phantom_slices: of "figshare".
        cache_dir, modalities, min_voxels, phantom_cases, phantom_shape: of the others.

    Raises:
        ValueError: another task, folds of BraTS cases, modalities other than ["t1c"] of Figshare slices; as the two.
    """
    class_names_of(task)
    if task != "figshare":
        if fold is not None:
            raise ValueError("folds are available for task='figshare' only; BraTS cases are split by split_seed.")
        return brats_classes(
            task,
            dataset_dir,
            phantom_dir,
            cache_dir,
            class_names,
            modalities=modalities,
            min_voxels=min_voxels,
            label_fraction=label_fraction,
            split_seed=split_seed,
            phantom_cases=phantom_cases,
            phantom_shape=phantom_shape,
            checkpoint=checkpoint,
            teacher_folds=teacher_folds,
        )
    if list(modalities) != ["t1c"]:
        raise ValueError(f"Figshare slices are T1-weighted with contrast (t1c) and nothing else, got {modalities}.")
    return figshare_classes(
        dataset_dir,
        phantom_dir,
        class_names=class_names,
        fold=fold,
        n_folds=n_folds,
        split_seed=split_seed,
        fold_source=fold_source,
        label_fraction=label_fraction,
        phantom_patients=phantom_patients,
        phantom_size=phantom_size,
        phantom_slices=phantom_slices,
        checkpoint=checkpoint,
        teacher_folds=teacher_folds,
    )


def balanced_sampler(
    items: Sequence[Mapping[str, Any]], num_samples: int | None = None, seed: int = 0
) -> BalancedSliceSampler:
    """Draw every class equally often; the unlabelled slices, where there are any, as one class more.

    Where torch distributed is initialised every process draws its share.

    Args:
        items: of the training section, with ``label`` and ``labelled``.
        num_samples: slices of an epoch over all processes; None for as many as there are.
        seed: of the draws.
    """
    unlabelled = 1 + max(int(item["label"]) for item in items)
    classes = [int(item["label"]) if item["labelled"] else unlabelled for item in items]
    parallel = distributed.is_initialized()
    return BalancedSliceSampler(
        # to the sampler 0 is a slice without tumour, of which it draws none here
        [number + 1 for number in classes],
        tumour_share=1.0,
        num_samples=num_samples,
        seed=seed,
        by_category=True,
        num_replicas=distributed.get_world_size() if parallel else 1,
        rank=distributed.get_rank() if parallel else 0,
    )


def figshare_classes(
    dataset_dir: str | None,
    phantom_dir: str,
    class_names: Sequence[str] = CLASS_NAMES,
    fold: int | None = None,
    n_folds: int = 5,
    split_seed: int = 0,
    fold_source: str = "group",
    **options: Any,
) -> dict[str, list[dict[str, Any]]]:
    """Sections for classification: ``label`` is the class, 0 meningioma, 1 glioma, 2 pituitary tumour.

    Of a user's own datalist it is the position of the item's ``class`` in ``class_names``, or that number itself.

    Args:
        class_names: of a user's own datalist.
        fold_source: "group", "official" as :func:`~ckdmed.bundle.figshare_sections`, or "slices" with a fold: single
            slices are dealt to the folds, so that a patient's slices stand on both sides. What is measured on such a
            split flatters; it is there to show by how much, and a warning is logged.
        dataset_dir, phantom_dir, fold, n_folds, split_seed, options: as :func:`~ckdmed.bundle.figshare_sections`.

    Returns:
        "train", "validation", "test" -> items with ``image`` (absolute path), ``label``, ``labelled``, ``id``,
        ``patient`` and ``patient_group``; the tumour's mask takes no part.

    Raises:
        ValueError: as :func:`~ckdmed.bundle.figshare_sections`; "slices" without a fold, or with unlabelled patients.
    """
    by_slice = fold_source == "slices"
    if by_slice and (fold is None or options.get("label_fraction", 1.0) != 1.0):
        raise ValueError("fold_source='slices' needs a fold, and label_fraction 1.")
    sections = figshare_sections(
        dataset_dir,
        phantom_dir,
        fold=fold,
        n_folds=n_folds,
        # slices are dealt anew, whatever the sections of a datalist
        split_seed=0 if by_slice and dataset_dir else split_seed,
        fold_source="group" if by_slice else fold_source,
        target="class",
        **options,
    )
    classes = {
        name: [{**{k: item[k] for k in _KEPT if k in item}, "label": class_of(item, class_names)} for item in items]
        for name, items in sections.items()
    }
    recorded = NEW in sections
    if not recorded and any("class" in item for item in sections["train"]):
        _warn_of_missing(str(dataset_dir), classes["train"], class_names)
    return _dealt_by_slice(classes, int(fold or 0), n_folds, split_seed) if by_slice and not recorded else classes


def _warn_of_missing(source: str, train: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> None:
    """Warn of classes without an example: the classes of a datalist may be numbered from 1, or named otherwise."""
    there = {item["label"] for item in train if item["labelled"]}
    missing = [str(name) for number, name in enumerate(class_names) if number not in there]
    if missing:
        logger.warning(
            f"{source}: no labelled training image has the class {', '.join(missing)} (class_names is "
            f"{list(class_names)}, and numbers of classes are counted from 0): it cannot be learned. If the datalist "
            "has other classes, name them with --class_names."
        )


def class_of(item: Mapping[str, Any], class_names: Sequence[str]) -> int:
    """The number of an item's class, counted from 0; 0 too without one.

    Raises:
        ValueError: none of the classes is called so.
    """
    if "class" not in item:
        return int(item["tumor_label"]) - 1
    kind = item["class"]
    if kind is None:
        # an unlabelled image; the loss does not look at it
        return 0
    if kind in class_names:
        return list(class_names).index(kind)
    if isinstance(kind, int) and 0 <= kind < len(class_names):
        return kind
    raise ValueError(
        f"the image '{item['id']}' has the class {kind!r}, but class_names is {list(class_names)}; name the classes "
        "of the datalist with --class_names."
    )


def _dealt_by_slice(
    sections: dict[str, list[dict[str, Any]]], fold: int, n_folds: int, seed: int
) -> dict[str, list[dict[str, Any]]]:
    # by their names: where the images lie must not decide
    everything = sorted((i for part in sections.values() for i in part), key=lambda i: i["id"])
    items = [item for item in everything if item["labelled"]]
    folds = k_folds([item["id"] for item in items], [item["label"] for item in items], n_folds, seed)
    test, validation = folds[fold], folds[(fold + 1) % n_folds]
    held_out = set(test) | set(validation)
    logger.warning(
        "slices are assigned to folds without regard to patients: scores measured this way are too optimistic."
    )
    return {
        "train": [item for index, item in enumerate(items) if index not in held_out]
        + [item for item in everything if not item["labelled"]],
        "validation": [items[index] for index in validation],
        "test": [items[index] for index in test],
    }
