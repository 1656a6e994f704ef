"""Whether DICOM series that are taken for one case are of one patient and lie in one system of coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckdmed.data.dicom_file import open_dicom
from ckdmed.data.nifti_files import VolumeFileError
from ckdmed.data.volume_reader import dicom_files

__all__ = ["check_one_patient", "other_coordinates"]


@dataclass(frozen=True)
class _Identity:
    """What a series says of itself, each "" where it does not.

    Args:
        patient: Patient ID.
        frame: Frame of Reference UID; series of one have the same scanner coordinates.
        date: of the study.
    """

    patient: str = ""
    frame: str = ""
    date: str = ""


def check_one_patient(sources: Iterable[Path]) -> None:
    """Check the Patient IDs of folders of one DICOM series each; NIfTI files say nothing.

    Raises:
        VolumeFileError: two differ, beyond capitals and blanks.
        DicomFileError: a file cannot be opened.
    """
    first: tuple[Path, str] | None = None
    for path in sources:
        patient = _identity(path).patient
        if first is not None and patient and patient.casefold() != first[1].casefold():
            raise VolumeFileError(
                f"{path}: is of the patient {patient!r} by its Patient ID (0010,0020), but {first[0]} of "
                f"{first[1]!r}; put each patient's series into a folder of their own, or correct the identifier."
            )
        if first is None and patient:
            first = (path, patient)


def other_coordinates(images: Mapping[str, Path], reference: str) -> dict[str, str]:
    """Images whose header says that scanner coordinates are others than those of the reference: of another frame of
    reference, as after the patient got up.

    Args:
        images: name to NIfTI file, of which nothing is known, or folder of one DICOM series.
        reference: name of one of them.

    Returns:
        name -> what is said of it, as a sentence without its end.

    Raises:
        DicomFileError: a file cannot be opened.
    """
    known = {name: _identity(path) for name, path in images.items()}
    own = known[reference]
    found = {}
    for name, other in known.items():
        if own.frame and other.frame and other.frame != own.frame:
            dates = f" (studies of {other.date} and {own.date})" if own.date != other.date else ""
            found[name] = f"{name} has another frame of reference than {reference}{dates}"
    return found


def _identity(path: Path) -> _Identity:
    files = dicom_files(path) if path.is_dir() else []
    if not files:
        return _Identity()
    dataset = open_dicom(files[0], pixels=False)
    keywords = ("PatientID", "FrameOfReferenceUID", "StudyDate")
    return _Identity(*(str(dataset.get(keyword) or "").strip("\0 ") for keyword in keywords))
