"""The coded terms of brain tumours (SNOMED CT and NCI Thesaurus, as in DICOM PS3.16)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

__all__ = ["BRAIN", "ClassTerms", "RegionTerms", "class_terms", "region_terms"]

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


@dataclass(frozen=True)
class ClassTerms:
    """What a class of a classifier is.

    Args:
        type: the finding.
        site: where it is.
    """

    type: Code
    site: Code


_CLASSES = {
    "meningioma": ClassTerms(Code("C3230", "NCIt", "Meningioma"), BRAIN),
    "glioma": ClassTerms(Code("393564001", "SCT", "Glioma"), BRAIN),
    "pituitary tumour": ClassTerms(codes.SCT.Neoplasm, codes.SCT.Pituitary),
}
# of this package's own, where no terminology has the class
_OWN_SCHEME = "99CKDMED"


def class_terms(name: str) -> ClassTerms:
    """The terms of a class by the name that the network gives it; a code of our own for a name that is not known."""
    known = _CLASSES.get(name)
    return known or ClassTerms(Code(hashlib.sha256(name.encode()).hexdigest()[:16], _OWN_SCHEME, name[:64]), BRAIN)


def region_terms(name: str) -> RegionTerms:
    """The terms of a region by the name that the network gives it; of any other name a lesion labelled so."""
    known = _REGIONS.get(name)
    return known or RegionTerms(name[:64], codes.SCT.Lesion, _CATEGORY, (65.0, 40.0, 60.0))
