"""What the names of BraTS files and cases say."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["MODALITIES", "CaseName", "parse_case_name", "parse_file_name", "parse_free_name"]

# Names of 2023; those of other releases and of clinics are translated to them.
MODALITIES = ("t1n", "t1c", "t2w", "t2f")

_NEW_CASE = re.compile(r"(?P<patient>BraTS-(?P<type>GLI|MEN|MET|PED|SSA)-[A-Za-z0-9]+)-(?P<time>\d{1,4})")
_OLD_CASE = re.compile(r"brats(?P<year>17|18|19|20|21|2017|2018|2019|2020|2021)_(?P<rest>[A-Za-z0-9_]+)", re.IGNORECASE)
_DECATHLON_CASE = re.compile(r"BRATS_(\d+)")
_NIFTI = re.compile(r"(?P<stem>.+)\.nii(\.gz)?", re.IGNORECASE)
_OLD_PARTS = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f", "seg": "seg"}
_FREE_PARTS = {
    "t1n": ("t1n", "t1", "t1w", "t1pre"),
    "t1c": ("t1c", "t1ce", "t1gd", "t1post", "t1km"),
    "t2w": ("t2w", "t2"),
    "t2f": ("t2f", "flair", "fla", "t2flair"),
    "seg": ("seg",),
    "brain": ("brain", "brainmask", "mask"),
}
_FREE = {alias: part for part, aliases in _FREE_PARTS.items() for alias in aliases}


@dataclass(frozen=True)
class CaseName:
    """A case by its name.

    Args:
        case: one person at one time.
        patient: the person, within a release.
        patient_group: equal for what may be one person in the releases 2017 to 2019, which repeat persons.
        time_point: number in the name; 0 where names have none.
        tumour_type: GLI, MEN, MET, PED or SSA.
        release: "2017" to "2021", "2023" (2023 and later), or "decathlon"; see `ckdmed.labels.brats_labels`.
    """

    case: str
    patient: str
    patient_group: str
    time_point: int
    tumour_type: str
    release: str


def parse_case_name(name: str) -> CaseName | None:
    """What a case's name says, or None where it is no BraTS name.

    Example:
        >>> parse_case_name("BraTS-MET-00012-001").patient
        'BraTS-MET-00012'
        >>> parse_case_name("Brats18_TCIA05_396_1").time_point
        1
    """
    if match := _NEW_CASE.fullmatch(name):
        patient = match["patient"]
        return CaseName(name, patient, patient, int(match["time"]), match["type"], "2023")
    if match := _DECATHLON_CASE.fullmatch(name):
        return CaseName(name, name, name, 0, "GLI", "decathlon")
    match = _OLD_CASE.fullmatch(name)
    if match is None:
        return None
    year = "20" + match["year"][-2:]
    if year in ("2020", "2021"):
        return CaseName(name, name, name, 0, "GLI", year)
    # 2017 to 2019: institution, person and time; 2018 adds the collection's number to TCIA.
    person, _, time = match["rest"].rpartition("_")
    if not person or not time.isdigit():
        person, time = match["rest"], "0"
    return CaseName(name, person, re.sub(r"^TCIA\d*_", "TCIA_", person), int(time), "GLI", year)


def parse_file_name(name: str) -> tuple[CaseName, str] | None:
    """The case and the part (a modality or "seg") of a file of 2023's or 2017 to 2021's naming, else None."""
    match = _NIFTI.fullmatch(name)
    if match is None:
        return None
    stem = match["stem"]
    case, _, part = stem.rpartition("-")
    if part in (*MODALITIES, "seg") and _NEW_CASE.fullmatch(case):
        parsed = parse_case_name(case)
        return None if parsed is None else (parsed, part)
    case, _, part = stem.rpartition("_")
    if part.lower() in _OLD_PARTS and _OLD_CASE.fullmatch(case):
        parsed = parse_case_name(case)
        return None if parsed is None else (parsed, _OLD_PARTS[part.lower()])
    return None


def parse_free_name(stem: str) -> tuple[str, str] | None:
    """Case and part of any other name that ends in a modality: `TCGA-FG-6692_fla` is ("TCGA-FG-6692", "t2f").

    Args:
        stem: file name without its suffix, or the name of a folder; a bare modality has the case "".

    Returns:
        case and part: a modality, "seg" or "brain" (a brain mask); None where the name ends in none of these.
    """
    match = re.fullmatch(r"(?:(?P<case>.+)[-_ ])?(?P<part>[A-Za-z0-9]+)", stem)
    if match is None or match["part"].lower() not in _FREE:
        return None
    return match["case"] or "", _FREE[match["part"].lower()]
