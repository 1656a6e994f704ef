"""What headers and names of a case's images say against the modalities that these are taken for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ckdmed.intended_inputs import SEQUENCE_NAMES, series_facts

__all__ = ["sequence_doubts"]


def sequence_doubts(images: Mapping[str, Path]) -> tuple[str, ...]:
    """A part of a sentence on each image that says to be something else than its modality, or a reformat.

    A DICOM series says it by its header, for somebody named its folder; a NIfTI file by its name and its folder's.

    Args:
        images: modality to NIfTI file or folder of one DICOM series.

    Raises:
        DicomFileError: a DICOM file that cannot be opened.
    """
    doubts = []
    for modality, path in images.items():
        facts = series_facts(path)
        wanted = f"{modality} ({SEQUENCE_NAMES[modality]})"
        if facts.contradicts(modality):
            doubts.append(f"{path} was taken for {wanted}, but is {facts.sequence_text}: {facts.because}")
        elif facts.modality not in ("", "MR", "OT"):
            doubts.append(f"{path} was taken for {wanted}, but its modality is {facts.modality}")
        elif facts.doubt:
            doubts.append(f"{path} was taken for {wanted}, but {facts.doubt}")
        if facts.origin.reformatted:
            doubts.append(f"{path} was computed from other images ({facts.origin.text})")
    return tuple(doubts)
