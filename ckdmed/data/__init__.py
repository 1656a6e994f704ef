"""Readers, datalists, splits and phantoms."""

from __future__ import annotations

from ckdmed.data.figshare import (
    FigshareFileError,
    FigshareMatReader,
    FigshareSlice,
    border_from_text,
    border_to_text,
    draw_border,
    read_figshare_slice,
)
from ckdmed.data.patients import patient_group
from ckdmed.data.splits import check_no_group_crosses, k_folds, labelled_subset, split_by_group

__all__ = [
    "FigshareFileError",
    "FigshareMatReader",
    "FigshareSlice",
    "border_from_text",
    "border_to_text",
    "check_no_group_crosses",
    "draw_border",
    "k_folds",
    "labelled_subset",
    "patient_group",
    "read_figshare_slice",
    "split_by_group",
]
