"""BraTS: cases, datalists, masks and slices."""

from __future__ import annotations

from ckdmed.data.brats.alignment import MaskCheck, check_mask
from ckdmed.data.brats.cached_slices import CaseSlicesd, LoadCachedSliced
from ckdmed.data.brats.case_files import SkippedCase
from ckdmed.data.brats.cases import BratsCase, find_brats_cases
from ckdmed.data.brats.datalist import (
    brats_fold,
    build_brats_datalist,
    load_brats_datalist,
    read_brats_datalist,
    select_brats_items,
    write_brats_datalist,
)
from ckdmed.data.brats.datalist_form import check_brats_datalist, is_brats_datalist
from ckdmed.data.brats.foreground_sampler import ForegroundSliceSampler
from ckdmed.data.brats.headers import (
    IncompleteCaseError,
    VolumeFileError,
    VolumeHeader,
    affine_text,
    grid_disagreement,
    read_volume_header,
)
from ckdmed.data.brats.masks import read_mask
from ckdmed.data.brats.names import MODALITIES, CaseName, parse_case_name, parse_file_name, parse_free_name
from ckdmed.data.brats.slice_cache import build_slice_cache
from ckdmed.data.brats.slice_dataset import BratsSliceDataset
from ckdmed.data.brats.slice_index import SliceIndex
from ckdmed.data.brats.slice_sampler import BalancedSliceSampler
from ckdmed.labels import REGIONS, SLICE_CATEGORIES, TUMOUR_TYPES, BratsLabels, brats_labels, slice_category

__all__ = [
    "BalancedSliceSampler",
    "BratsCase",
    "VolumeFileError",
    "BratsLabels",
    "BratsSliceDataset",
    "CaseName",
    "CaseSlicesd",
    "ForegroundSliceSampler",
    "IncompleteCaseError",
    "LoadCachedSliced",
    "MODALITIES",
    "MaskCheck",
    "REGIONS",
    "SLICE_CATEGORIES",
    "SkippedCase",
    "SliceIndex",
    "TUMOUR_TYPES",
    "VolumeHeader",
    "affine_text",
    "brats_fold",
    "brats_labels",
    "build_brats_datalist",
    "build_slice_cache",
    "check_brats_datalist",
    "check_mask",
    "find_brats_cases",
    "grid_disagreement",
    "is_brats_datalist",
    "load_brats_datalist",
    "parse_case_name",
    "parse_file_name",
    "parse_free_name",
    "read_brats_datalist",
    "read_mask",
    "read_volume_header",
    "select_brats_items",
    "slice_category",
    "write_brats_datalist",
]
