"""The data of the classification bundles: slices with the class of their tumour."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ckdmed.bundle.figshare import figshare_sections
from ckdmed.data.splits import k_folds

__all__ = ["CLASS_NAMES", "figshare_classes"]

CLASS_NAMES = ("meningioma", "glioma", "pituitary tumour")
logger = logging.getLogger(__name__)

_KEPT = ("id", "image", "labelled", "patient", "patient_group")


def figshare_classes(
    dataset_dir: str | None,
    phantom_dir: str,
    fold: int | None = None,
    n_folds: int = 5,
    split_seed: int = 0,
    fold_source: str = "group",
    **options: Any,
) -> dict[str, list[dict[str, Any]]]:
    """Sections for classification: ``label`` is the class, 0 meningioma, 1 glioma, 2 pituitary tumour.

    Args:
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
    if by_slice and (fold is None or options.get("labelled_fraction", 1.0) != 1.0):
        raise ValueError("fold_source='slices' needs a fold, and labelled_fraction 1.")
    sections = figshare_sections(
        dataset_dir,
        phantom_dir,
        fold=fold,
        n_folds=n_folds,
        split_seed=split_seed,
        fold_source="group" if by_slice else fold_source,
        **options,
    )
    classes = {
        name: [{**{key: item[key] for key in _KEPT}, "label": int(item["tumor_label"]) - 1} for item in items]
        for name, items in sections.items()
    }
    return _dealt_by_slice(classes, int(fold or 0), n_folds, split_seed) if by_slice else classes


def _dealt_by_slice(
    sections: dict[str, list[dict[str, Any]]], fold: int, n_folds: int, seed: int
) -> dict[str, list[dict[str, Any]]]:
    items: Sequence[dict[str, Any]] = sorted((i for part in sections.values() for i in part), key=lambda i: i["image"])
    folds = k_folds([item["image"] for item in items], [item["label"] for item in items], n_folds, seed)
    test, validation = folds[fold], folds[(fold + 1) % n_folds]
    held_out = set(test) | set(validation)
    logger.warning("slices are dealt to the folds without regard to patients: what is measured here flatters.")
    return {
        "train": [item for index, item in enumerate(items) if index not in held_out],
        "validation": [items[index] for index in validation],
        "test": [items[index] for index in test],
    }
