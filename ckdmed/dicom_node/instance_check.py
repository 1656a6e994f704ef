"""What a file that came in says of itself, and whether the node takes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

__all__ = ["CANNOT_UNDERSTAND", "NO_RESOURCES", "NOT_MATCHING", "InstanceRefused", "ReceivedInstance", "read_instance"]

# Answers to C-STORE, DICOM PS3.4 B.2.3
NO_RESOURCES, NOT_MATCHING, CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_LOOKED_AT = (*_UIDS, "Modality", "PatientID", "PatientName", "Rows", "Columns", "FrameOfReferenceUID")


class InstanceRefused(ValueError):
    """A file that is not taken; `status` is the answer to its sender.

    Args:
        status: of the C-STORE response.
        cause: at most 64 letters, without what tells a patient.
    """

    def __init__(self, status: int, cause: str) -> None:
        super().__init__(cause)
        self.status = status
        self.cause = cause[:64]


@dataclass(frozen=True)
class ReceivedInstance:
    """The identity of a file.

    Args:
        instance, series: UIDs, of digits and dots alone.
        patient: identifier and name, for a log that may hold them.
    """

    instance: str
    series: str
    patient: str


def read_instance(path: Path, sop_class: str, sop_instance: str) -> ReceivedInstance:
    """Look at a file's header.

    Args:
        path: as it was received.
        sop_class, sop_instance: what the sender called it.

    Raises:
        InstanceRefused: it cannot be parsed, is not what the sender called it, is of another modality than MR, or lacks
            what a result needs: UIDs, rows and columns, a frame of reference.
    """
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=list(_LOOKED_AT))
        values = {name: str(header.get(name) or "").strip("\0 ") for name in _LOOKED_AT}
    # pydicom lets through what struct and its value converters raise, and a RecursionError of nested sequences
    except Exception as error:
        raise InstanceRefused(CANNOT_UNDERSTAND, f"no readable header ({type(error).__name__})") from error
    for name in _UIDS:
        # they become names of files and folders
        if len(values[name]) > 64 or not _UID.fullmatch(values[name]):
            raise InstanceRefused(CANNOT_UNDERSTAND, f"{name} is missing or no UID")
    if (values["SOPClassUID"], values["SOPInstanceUID"]) != (sop_class, sop_instance):
        raise InstanceRefused(NOT_MATCHING, "the header has other UIDs than the request")
    if values["Modality"] != "MR":
        raise InstanceRefused(NOT_MATCHING, "the modality is not MR")
    for name in ("Rows", "Columns", "FrameOfReferenceUID"):
        if not values[name]:
            raise InstanceRefused(CANNOT_UNDERSTAND, f"{name} is missing")
    return ReceivedInstance(
        values["SOPInstanceUID"], values["SeriesInstanceUID"], f"{values['PatientID']} {values['PatientName']}".strip()
    )
