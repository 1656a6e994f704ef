"""Which inputs of an inference are of patients who were in the network's training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ckdmed.data.brats import parse_case_name, parse_file_name, parse_free_name
from ckdmed.data.brats.names import free_case_name
from ckdmed.data.figshare import read_figshare_slice
from ckdmed.data.mat73 import FigshareFileError
from ckdmed.data.output_names import input_stem
from ckdmed.data.patients import patient_group
from ckdmed.limits import FileTooLargeError
from ckdmed.sections.record import SectionRecord

__all__ = ["known_sections"]


def known_sections(record: SectionRecord, name: str, files: Sequence[str | Path]) -> list[str]:
    """The sections of the training in which the patient of an input was; empty where nothing shows that it was known.

    A patient is known by the identifier in a ``.mat`` file, or by the name of the case, of a file (without its
    modality) or of its folder. A picture under another name tells nothing of its patient.

    Args:
        record: of the checkpoint.
        name: of the input.
        files: of the input.

    Returns:
        some of "train", "validation" and "test".
    """
    identifiers: set[str] = set()
    names = {name.rsplit("/", 1)[-1]}
    for file in map(Path, files):
        if file.suffix.lower() == ".mat":
            # the identifier is the patient's; the number in the name is not
            identifiers |= _identifiers_of_slice(file)
            names.discard(name.rsplit("/", 1)[-1])
            continue
        stem = input_stem(file.name)
        free = parse_free_name(stem)
        named = parse_file_name(file.name)
        names |= {stem, file.parent.name, *([free[0]] if free else []), *([named[0].case] if named else [])}
    for one in names - {""}:
        identifiers |= {one, free_case_name(one).patient}
        if (case := parse_case_name(one)) is not None:
            identifiers |= {case.patient, case.patient_group}
    return record.sections_of(identifiers)


def _identifiers_of_slice(file: Path) -> set[str]:
    try:
        patient = read_figshare_slice(file).patient
    except (FigshareFileError, FileTooLargeError):
        # an image alone can be predicted on, without a patient
        return set()
    return {patient, patient_group(patient)}
