"""What the Image Type (0008,0008) and the colours of a DICOM image say of how it was made."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset

__all__ = ["ImageOrigin", "image_origin"]

# Words behind the first two values; scanners' and the standard's. Projections, differences, maps that were computed,
# and parts of a complex or a fat and water image: grey values of none of the four sequences.
_NO_SEQUENCE = frozenset(
    "MIP MINIP MNIP MAX_IP MIN_IP MEAN_IP MAXIMUM MINIMUM PROJECTION PROJECTION_IMAGE PJN COLLAPSE VOLREN VRT"
    " SUB SUBTRACT SUBTRACTION DIFFERENCE"
    " ADC EADC FA TRACE TRACEW DIFFUSION PERFUSION CBF CBV MTT TTP TMAX RCBF RCBV PBP GBP ASL FMRI SWI"
    " TOF ANGIO ANGIO_TIME FLOW_ENCODED VELOCITY T1_MAP T2_MAP R2_MAP T1MAP T2MAP R2MAP"
    " P PHASE PHASE_MAP FAT FAT_FRACTION".split()
)
# Slices that were computed from those of another direction or thickness.
_REFORMATTED = frozenset("MPR CSA_MPR REFORMATTED RESAMPLED CSA_RESAMPLED CPR CURVED".split())
_LOCALISER = "LOCALIZER"


@dataclass(frozen=True)
class ImageOrigin:
    """How an image was made.

    Args:
        text: the image type as a header writes it, "" where it has none.
        derived: whether it was made of other images in any way; so are images without faces and compressed ones.
        reformatted: whether its slices were computed from others.
        localiser: whether other series were planned on it.
        no_sequence: why its grey values are of no MR sequence, as a part of a sentence; "" where nothing says so.
    """

    text: str = ""
    derived: bool = False
    reformatted: bool = False
    localiser: bool = False
    no_sequence: str = ""


def image_origin(dataset: Dataset) -> ImageOrigin:
    """How a DICOM image was made, by its header; of an enhanced one by what is said of all frames."""
    values = _values(dataset, "ImageType")
    text = "\\".join(values)
    words = {value.upper().replace(" ", "_") for value in values[2:]}
    colours = next(iter(_values(dataset, "PhotometricInterpretation")), "")
    no_sequence = f"its image type is {text}" if words & _NO_SEQUENCE else ""
    modality = next(iter(_values(dataset, "Modality")), "")
    # scanners' images are grey; other modalities are pictures that somebody converted
    if not no_sequence and modality == "MR" and colours and not colours.startswith("MONOCHROME"):
        no_sequence = f"its pixels are colours ({colours})"
    reformatted = bool(words & _REFORMATTED)
    derived = reformatted or [value.upper() for value in values[:1]] == ["DERIVED"]
    return ImageOrigin(text, derived, reformatted, _LOCALISER in words, no_sequence)


def _values(dataset: Dataset, keyword: str) -> list[str]:
    try:
        value = dataset.get(keyword) or ()
    # a value is converted when it is read, and each kind of damage raises its own
    except Exception:
        return []
    return [value.strip("\0 ")] if isinstance(value, str) else [str(part).strip("\0 ") for part in value]
