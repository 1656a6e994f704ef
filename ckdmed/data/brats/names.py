"""Parsing the names of BraTS files and cases."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ckdmed.data.volume_reader import is_nifti

__all__ = [
    "MODALITIES",
    "CaseName",
    "fits_folder",
    "free_case_name",
    "leaves_modality_open",
    "nifti_stem",
    "parse_case_name",
    "parse_file_name",
    "parse_free_name",
]

# Names of 2023; those of other releases and of clinics are translated to them.
MODALITIES = ("t1n", "t1c", "t2w", "t2f")

# Capitals and separators are those of whoever renamed the files.
_NEW_CASE = re.compile(
    r"brats[-_ ](?P<type>GLI|MEN|MET|PED|SSA)[-_ ](?P<id>[A-Za-z0-9]+)(?:[-_ ](?P<time>\d{1,4}))?", re.IGNORECASE
)
_OLD_CASE = re.compile(
    r"brats(?P<year>17|18|19|20|21|2017|2018|2019|2020|2021)[-_ ](?P<rest>[A-Za-z0-9][-_ A-Za-z0-9]*)", re.IGNORECASE
)
_DECATHLON_CASE = re.compile(r"BRATS_(\d+)")
# A part of a name, and the pattern of what stands for it at the end; the longest match of all counts, so that T2_FLAIR
# is no T2 and T1_Gd no case named T1.
_FREE_PARTS = {
    "t1n": r"t1[nw]?|t1w?[-_ ]?pre(?:[-_ ]?contrast)?",
    "t1c": r"t1w?[-_ ]?(?:c|\+c|ce|gd|gado?|km|contrast|post(?:[-_ ]?(?:contrast|gd|gado?))?)",
    "t2w": r"t2w?",
    "t2f": r"t2f|(?:t2w?[-_ ]?)?(?:flair|fla)",
    "seg": r"seg",
    "brain": r"brain|brain[-_ ]?mask",
    "mask": r"mask",
}
_FREE = {
    part: re.compile(rf"(?:(?P<case>.+?)[-_ ])??(?:{pattern})", re.IGNORECASE) for part, pattern in _FREE_PARTS.items()
}
# Before a T1 these words may say that it has contrast; they also are initials, and `post` the time after an operation.
_AGENT = {"ce", "gd", "gad", "gado", "km", "contrast", "postcontrast", "post"}
# What may stand right before a modality and leaves it what it is: T2_FLAIR, T1_t1c.
_GENERAL = {"t1c": "t1n", "t2f": "t2w"}
# Entities of a BIDS name that tell how the image was made; `space`, for one, tells whose grid it is on.
_BIDS_OF_THE_IMAGE = ("acq", "rec", "desc")
_NO_AGENT = {"no", "non", "none", "pre", "without"}
# BIDS: sub-01_ses-02_acq-x_ce-gd_T1w; subject and session are the case, `ce` is a contrast agent.
_BIDS = re.compile(
    r"(?P<subject>sub-[A-Za-z0-9]+)(?P<session>_ses-[A-Za-z0-9]+)?(?P<entities>(?:_[a-z]+-[A-Za-z0-9]+)*)"
    r"(?:_(?P<suffix>[A-Za-z0-9]+))?"
)


@dataclass(frozen=True)
class CaseName:
    """A case by its name.

    Args:
        case: one person at one time.
        patient: the person, within a release.
        patient_group: equal for what may be one person in the releases 2017 to 2019, which repeat persons, and however
            a name's capitals and separators are written.
        time_point: number in the name; 0 where names have none.
        tumour_type: GLI, MEN, MET, PED or SSA.
        release: "2017" to "2021", "2023" (2023 and later), or "decathlon"; see `ckdmed.labels.brats_labels`. Of other
            names "", as is the tumour type.
    """

    case: str
    patient: str
    patient_group: str
    time_point: int
    tumour_type: str
    release: str


def parse_case_name(name: str) -> CaseName | None:
    """What a case's name says, or None where it is no BraTS name.

    Examples:
        >>> parse_case_name("BraTS-MET-00012-001").patient
        'BraTS-MET-00012'
        >>> parse_case_name("Brats18_TCIA05_396_1").time_point
        1
    """
    if match := _NEW_CASE.fullmatch(name):
        kind = match["type"].upper()
        patient = f"BraTS-{kind}-{match['id']}"
        return CaseName(name, patient, patient, int(match["time"] or 0), kind, "2023")
    if match := _DECATHLON_CASE.fullmatch(name):
        return CaseName(name, name, name, 0, "GLI", "decathlon")
    match = _OLD_CASE.fullmatch(name)
    if match is None:
        return None
    year = "20" + match["year"][-2:]
    rest = re.sub(r"[- ]", "_", match["rest"])
    if year in ("2020", "2021"):
        return CaseName(name, name, f"BraTS{match['year']}_{rest.title()}", 0, "GLI", year)
    # 2017 to 2019: institution, person and time; 2018 adds the collection's number to TCIA.
    person, _, time = rest.rpartition("_")
    if not person or not time.isdigit():
        person, time = rest, "0"
    return CaseName(name, person, re.sub(r"^TCIA\d*_", "TCIA_", person.upper()), int(time), "GLI", year)


def free_case_name(name: str) -> CaseName:
    """What is known of a case under any other name: the subject of a BIDS name is the patient, else the case is."""
    match = _BIDS.fullmatch(name)
    patient = name if match is None else match["subject"]
    return CaseName(name, patient, patient, 0, "", "")


def parse_file_name(name: str) -> tuple[CaseName, str] | None:
    """The case and the part (see `parse_free_name`) of a NIfTI file of a case with a BraTS name, else None."""
    parsed = parse_free_name(nifti_stem(name)) if is_nifti(name) else None
    case = None if parsed is None else parse_case_name(parsed[0])
    # Task01's files hold all modalities, so a name that ends in one is somebody's own
    return None if case is None or parsed is None or case.release == "decathlon" else (case, parsed[1])


def nifti_stem(name: str) -> str:
    """The name of a NIfTI file without its suffix."""
    return name[: name.lower().rindex(".nii")]


def parse_free_name(stem: str) -> tuple[str, str] | None:
    """Case and part of any name that ends in a modality: `TCGA-FG-6692_fla` is ("TCGA-FG-6692", "t2f").

    Of BIDS names subject and session are the case, and a contrast agent (`ce-gd`) makes T1w a "t1c". A name in which
    other words leave the modality open (`leaves_modality_open`) is not read: which it is would be a guess.

    Args:
        stem: file name without its suffix, or the name of a folder; a bare modality has the case "".

    Returns:
        case and part: a modality, "seg", "brain" (a brain mask) or "mask" (of which kind is unknown); None where the
        name ends in none of these, or leaves the modality open.
    """
    found = _ending(stem)
    return None if found is None or _is_doubtful(*found[1:]) else (found[0], found[1])


def leaves_modality_open(stem: str) -> bool:
    """Whether a name ends in a modality that other words of it leave open.

    `P1_T1_FLAIR` is a T1-weighted image with inversion recovery or a FLAIR of the time T1, `FLAIR_to_T1` either of
    the two, `P1_seg_T1` a mask or an image, `P1_post_T1` has contrast or was taken after an operation. `T2_FLAIR` is a
    FLAIR.
    """
    found = _ending(stem)
    return found is not None and _is_doubtful(*found[1:])


def fits_folder(part: str, folder: str) -> bool:
    """Whether a file may lie in a folder of its own modality: not where the folder's name is another one.

    Such a folder is no modality's (of `T1/P1_flair` it may be the time T1), or one of the two names is wrong.

    Args:
        part: of the file, see `parse_free_name`; of a mask, or "" where its name says nothing, all folders fit.
        folder: its name.

    Examples:
        >>> fits_folder("t1c", "FLAIR"), fits_folder("t1c", "P1_T1"), fits_folder("", "T1")
        (False, True, True)
    """
    parsed = parse_free_name(folder)
    if parsed is None or not {part, parsed[1]} <= set(MODALITIES):
        return True
    return part == parsed[1] or _GENERAL.get(part) == parsed[1]


def _ending(stem: str) -> tuple[str, str, str] | None:
    """Case and part, and what else the name says, by its end alone."""
    bids = _BIDS.fullmatch(stem)
    ending = bids["suffix"] or "" if bids else stem
    found = [(match["case"] or "", part) for part, pattern in _FREE.items() if (match := pattern.fullmatch(ending))]
    if not found:
        return None
    case, part = min(found, key=lambda pair: len(pair[0]))
    if bids is None:
        return case, part, case
    entities = dict(re.findall(r"_([a-z]+)-([A-Za-z0-9]+)", bids["entities"]))
    contrast = entities.get("ce", "none").lower() not in _NO_AGENT
    words = "_".join(entities[name] for name in _BIDS_OF_THE_IMAGE if name in entities)
    return bids["subject"] + (bids["session"] or ""), "t1c" if contrast and part == "t1n" else part, words


def _is_doubtful(part: str, others: str) -> bool:
    if part not in MODALITIES:
        return False
    words = re.split(r"[^a-z0-9]+", others.lower())
    if part == "t1n" and words[-1] in _AGENT:
        return True
    named = [next((key for key, pattern in _FREE.items() if pattern.fullmatch(word)), "") for word in words]
    if named[-1] == _GENERAL.get(part):
        named.pop()
    return not set(named) <= {"", "brain", part}
