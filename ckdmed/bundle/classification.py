"""The data of the classification bundles: slices with the class of their tumour."""

from __future__ import annotations

from typing import Any

from ckdmed.bundle.figshare import figshare_sections

__all__ = ["CLASS_NAMES", "figshare_classes"]

CLASS_NAMES = ("meningioma", "glioma", "pituitary tumour")
_KEPT = ("id", "image", "labelled", "patient", "patient_group")


def figshare_classes(dataset_dir: str | None, phantom_dir: str, **options: Any) -> dict[str, list[dict[str, Any]]]:
    """Sections for classification: ``label`` is the class, 0 meningioma, 1 glioma, 2 pituitary tumour.

    Args:
        dataset_dir, phantom_dir, options: as :func:`~ckdmed.bundle.figshare_sections`.

    Returns:
        "train", "validation", "test" -> items with ``image`` (absolute path), ``label``, ``labelled``, ``id``,
        ``patient`` and ``patient_group``; the tumour's mask takes no part.

    Raises:
        ValueError: as :func:`~ckdmed.bundle.figshare_sections`.
    """
    sections = figshare_sections(dataset_dir, phantom_dir, **options)
    return {
        name: [{**{key: item[key] for key in _KEPT}, "label": int(item["tumor_label"]) - 1} for item in items]
        for name, items in sections.items()
    }
