"""The coded terms of brain tumours (SNOMED CT and NCI Thesaurus, as in DICOM PS3.16)."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

__all__ = ["BRAIN", "RegionTerms", "region_terms"]

BRAIN: Code = codes.SCT.Brain
_CATEGORY: Code = codes.SCT.MorphologicallyAbnormalStructure


@dataclass(frozen=True)
class RegionTerms:
    """How a region of a segmentation is called.

    Args:
        label: in words, at most 64 letters.
        type: what it is.
        category: the kind of thing that it is.
        colour: (L, a, b) of CIELab, in which viewers show it.
    """

    label: str
    type: Code
    category: Code
    colour: tuple[float, float, float]


# DICOM has no codes for whole tumour and tumour core; both are the neoplasm, and the label says which.
_REGIONS = {
    "tumour": RegionTerms("Tumour", codes.SCT.Neoplasm, _CATEGORY, (65.0, 40.0, 60.0)),
    "WT": RegionTerms("Whole tumour", codes.SCT.Neoplasm, _CATEGORY, (57.0, -45.0, 13.0)),
    "TC": RegionTerms("Tumour core", codes.SCT.Neoplasm, _CATEGORY, (70.0, -17.0, -32.0)),
    "ET": RegionTerms("Enhancing tumour", codes.NCIt.EnhancingLesion, _CATEGORY, (54.0, 52.0, 63.0)),
}


def region_terms(name: str) -> RegionTerms:
    """The terms of a region by the name that the network gives it; of any other name a lesion labelled so."""
    known = _REGIONS.get(name)
    return known or RegionTerms(name[:64], codes.SCT.Lesion, _CATEGORY, (65.0, 40.0, 60.0))
