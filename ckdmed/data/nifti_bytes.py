"""Results as NIfTI files in the geometry of what they were computed from."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ckdmed.data.nifti_files import read_nifti_header
from ckdmed.research_use import RESEARCH_USE_ONLY

__all__ = ["nifti_bytes"]

# Header fields that say something about the picture or the patient and not about the grid.
_NIFTI_TEXT = ("descrip", "aux_file", "db_name", "intent_name")
_NIFTI_NUMBERS = ("cal_min", "cal_max", "intent_code", "intent_p1", "intent_p2", "intent_p3")


def nifti_bytes(array: np.ndarray, affine: np.ndarray, original: Path | None = None) -> bytes:
    """A compressed NIfTI file: equal results are equal bytes, nothing of the patient is in it.

    Its description is the mark that every result carries.

    Args:
        array: on the grid of the input; it keeps its type.
        affine: (4, 4), index to millimetres, RAS; where an original is given, its own is copied exactly.
        original: NIfTI file with the header to copy, without its fields on the image's values and the patient; None
            where the input was none.
    """
    if original is not None:
        source: Any = read_nifti_header(original)
        header = source.header.copy()
        # NIfTI-2 lacks some of them
        for key in set(_NIFTI_TEXT) & set(header.keys()):
            header[key] = b""
        for key in set(_NIFTI_NUMBERS) & set(header.keys()):
            header[key] = 0
        image = type(source)(array, source.affine, header)
    else:
        image = nib.Nifti1Image(array, affine)
        image.set_sform(affine, code=1)
        image.set_qform(affine, code=1)
        image.header.set_xyzt_units("mm")
    image.set_data_dtype(array.dtype)
    image.header["descrip"] = RESEARCH_USE_ONLY.encode()
    # without a time, so that equal results are equal files
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)
