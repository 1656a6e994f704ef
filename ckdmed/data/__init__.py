"""Readers, datalists, splits and phantoms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckdmed.lazy_names import lazy_names

if TYPE_CHECKING:
    from ckdmed.data.cached import DiskCacheDataset, cached_dataset
    from ckdmed.data.datalist import (
        SkippedFile,
        build_figshare_datalist,
        load_figshare_datalist,
        read_datalist,
        read_official_folds,
        write_datalist,
    )
    from ckdmed.data.datalist_form import check_datalist
    from ckdmed.data.figshare import (
        FigshareFileError,
        FigshareMatReader,
        FigshareSlice,
        border_from_text,
        border_to_text,
        draw_border,
        read_figshare_slice,
    )
    from ckdmed.data.fingerprints import deterministic_part, fingerprint, item_fingerprint, transforms_fingerprint
    from ckdmed.data.integrity import datalist_problems
    from ckdmed.data.load_slices import LoadSliced, region_names
    from ckdmed.data.manifest import read_manifest
    from ckdmed.data.patients import patient_group
    from ckdmed.data.sections import resolve_datalist, select_sections
    from ckdmed.data.splits import check_no_group_crosses, k_folds, labelled_subset, split_by_group
    from ckdmed.data.training_loader import TrainingDataLoader

# The readers do without PyTorch (`ckdmed.runtime`), others here do not: each module is imported when a name of it is
# asked for.
_HOMES = {
    "cached": (
        "DiskCacheDataset",
        "cached_dataset",
    ),
    "datalist": (
        "SkippedFile",
        "build_figshare_datalist",
        "load_figshare_datalist",
        "read_datalist",
        "read_official_folds",
        "write_datalist",
    ),
    "datalist_form": ("check_datalist",),
    "figshare": (
        "FigshareFileError",
        "FigshareMatReader",
        "FigshareSlice",
        "border_from_text",
        "border_to_text",
        "draw_border",
        "read_figshare_slice",
    ),
    "fingerprints": (
        "deterministic_part",
        "fingerprint",
        "item_fingerprint",
        "transforms_fingerprint",
    ),
    "integrity": ("datalist_problems",),
    "load_slices": (
        "LoadSliced",
        "region_names",
    ),
    "manifest": ("read_manifest",),
    "patients": ("patient_group",),
    "sections": (
        "resolve_datalist",
        "select_sections",
    ),
    "splits": (
        "check_no_group_crosses",
        "k_folds",
        "labelled_subset",
        "split_by_group",
    ),
    "training_loader": ("TrainingDataLoader",),
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

__all__ = [
    "DiskCacheDataset",
    "FigshareFileError",
    "FigshareMatReader",
    "FigshareSlice",
    "LoadSliced",
    "SkippedFile",
    "TrainingDataLoader",
    "border_from_text",
    "border_to_text",
    "build_figshare_datalist",
    "cached_dataset",
    "check_datalist",
    "check_no_group_crosses",
    "datalist_problems",
    "deterministic_part",
    "draw_border",
    "fingerprint",
    "item_fingerprint",
    "k_folds",
    "labelled_subset",
    "load_figshare_datalist",
    "patient_group",
    "read_datalist",
    "read_figshare_slice",
    "region_names",
    "read_manifest",
    "read_official_folds",
    "resolve_datalist",
    "select_sections",
    "split_by_group",
    "transforms_fingerprint",
    "write_datalist",
]
