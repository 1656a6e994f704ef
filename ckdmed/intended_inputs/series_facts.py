"""What the header or the name of an input says of it: modality, sequence, contrast agent, field of view."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.utils import ensure_tuple
from pydicom import Dataset

from ckdmed.data.brats.names import fits_folder, leaves_modality_open, parse_free_name
from ckdmed.data.dicom_file import DicomFileError, open_dicom
from ckdmed.data.output_names import input_stem
from ckdmed.data.slice_files import file_kind
from ckdmed.data.slice_geometry import SliceGeometry
from ckdmed.data.volume_reader import dicom_files
from ckdmed.intended_inputs.body_part import shows_elsewhere
from ckdmed.intended_inputs.image_type import ImageOrigin, image_origin

__all__ = ["OTHER_SEQUENCE", "SEQUENCE_NAMES", "SeriesFacts", "facts_of_dicom", "facts_of_slices", "series_facts"]

SEQUENCE_NAMES = {
    "t1n": "T1 without contrast agent",
    "t1c": "contrast-enhanced T1",
    "t2w": "T2",
    "t2f": "FLAIR",
}
#: What is none of these four, such as diffusion, angiography or a localiser.
OTHER_SEQUENCE = "other"

_OTHERS = re.compile(
    r"dwi|dti|diff|trace|adc|\bfa\b|swi|swan|t2w?\W?(?:\*|star|ffe|gre|fl2d)|gre\W?t2|\bhemo|perf"
    r"|dsc|dce|asl|cbf|cbv|tof|\bmra\b|\bmrv\b|angio|loc(?:ali[sz]er)?\b"
    r"|scout|survey|3.?plane|bold|fmri|epi\b|spectro|csi|svs|\bpd\b|proton|stir|b0\b|calib|phase"
    # made of other images: differences and projections; a subject is called "sub-01"
    r"|subtra[ck]t|\bsub\b(?!-)|\bmi(?:ni)?p\b"
    # fat where fat and water were told apart
    r"|^fat\b|\bdixon\b(?:.* |_?)f$"
)
# those of `_OTHERS` that are but to plan other series
_LOCALISER = re.compile(r"^\W*loc\b|\blocali[sz]er|scout|\bsurvey|3.?plane")
_FLAIR = re.compile(r"flair|\bfla\b|dark.?fl|\bda.?fl|tirm|(?:space|\bspc).?ir")
# an inversion recovery whose contrast is that of T1, with one word in between
_T1_FLAIR = re.compile(r"t1w?(?:[\W_]+(?!t2)\w+)?[\W_]*(?:flair|fla\b|dark.?fl|tirm)")
# the words themselves, and not the end of "part1"
_SAYS_T1, _SAYS_T2 = (re.compile(rf"(?<![a-z]{{2}})t{number}(?!\d)") for number in (1, 2))
_T1 = re.compile(
    r"t1|mp.?rage|\btfl|spgr|bravo|\bvibe|\blava|thrive|\bffe3d|3d.?ffe|\btfe\b|cube.?t1|\bfse.?ir|\bse.?t1"
)
_T2 = re.compile(r"t2|\bhaste|\btse2|ciss|fiesta")
# behind "pre" and "post" a time or a place, and nothing of an agent
_TIMES = r"(?!\W?(?:op|surg|biop|rad|rt\b|chemo|treat|tx\b|ther|shunt|vp\b|proc|foss|erior))"
_CONTRAST = re.compile(
    rf"\+\s*c\b|\bc\+|\+\s*(?:gd|gad|contrast|km)|post{_TIMES}|\bi\.?v\.?\W?con|gado|\bgad|\bgd\b|t1\W?(?:ce|c|gd|km)\b"
    r"|\bce\b|contrast|enhanc|mit.?km|nach.?km|\bkm\b|omni|magnev|dotarem|prohance|gadav"
)
_NO_CONTRAST = re.compile(
    rf"\bpre\b{_TIMES}|pre.?(?:gd|gad|contrast|con)|non.?(?:contrast|enh)|without|\bw/?o\b|\bno\b|unenhanced|nativ|ohne"
)
# "w/wo" and "with and without" name an examination of both, "no FS" and "w/o fat sat" say nothing of an agent
_NOTHING_OF_AN_AGENT = re.compile(
    r"\bw(?:ith)?\W*(?:and|&)?\W*(?:wo|w/o|without)\b(?:\W*contrast)?"
    r"|(?:\bw/?o|\bno|\bnon|\bwithout)\W*(?:fs|fat\W?sat|fat)\b"
)
_NO_AGENT = {"", "no", "none", "n", "na", "n/a", "0", "without", "no contrast", "null"}


@dataclass(frozen=True)
class SeriesFacts:
    """What an input says of itself.

    Args:
        modality: DICOM's ("MR", "CT" ...), "" where nothing tells.
        sequence: "t1n", "t1c", "t2w", "t2f", "other", or "" where nothing tells.
        because: what told the sequence, as a part of a sentence; "" where nothing did.
        field_of_view_mm: longer side of a slice, or None where the file does not say.
        description: of the series, as its header or its name has it.
        pixel_mm: sides of a pixel, the shorter first, where the file is one that may be cut along any axis; else None.
        placed: False of a volume whose file does not tell how it lies, so that its slices may be upside down.
        origin: how a DICOM image was made.
        elsewhere: whether a DICOM series shows another part of the body than the head.
        doubt: what speaks against the sequence, as a part of a sentence; "" for nothing.
    """

    modality: str = ""
    sequence: str = ""
    because: str = ""
    field_of_view_mm: float | None = None
    description: str = ""
    pixel_mm: tuple[float, float] | None = None
    placed: bool = True
    origin: ImageOrigin = ImageOrigin()
    elsewhere: bool = False
    doubt: str = ""

    @property
    def sequence_text(self) -> str:
        """The sequence in words."""
        if self.origin.localiser:
            return "a localiser"
        if self.elsewhere:
            return "a scan of another part of the body"
        return SEQUENCE_NAMES.get(self.sequence, "another sequence" if self.sequence else "not known")

    def contradicts(self, modality: str) -> bool:
        """Whether the sequence is known and another than the one that an image is taken for.

        One that mentions no contrast agent may have one.
        """
        return self.sequence not in ("", modality) and (self.sequence, modality) != ("t1n", "t1c")


def series_facts(
    files: Sequence[PathLike] | PathLike, shape: Sequence[int] = (), affine: np.ndarray | None = None
) -> SeriesFacts:
    """What the header or name of an input says of it.

    A DICOM file says its modality and sequence in its header; what its header does not tell, and what other files hold,
    is taken from names that end in a modality (``_t1ce``, ``_flair``): of the file, except for DICOM, else of its
    folder, and of the folder that a link leads to.

    Args:
        files: of the input; a file, a folder of one DICOM series, or the files of one.
        shape: (rows, columns) of its slices in the file's grid, where it has an affine.
        affine: the columns of the file's affine that rows and columns lie along, (4, 2); None where it has none.

    Raises:
        DicomFileError: a DICOM file that cannot be opened.
    """
    paths = [Path(path) for path in ensure_tuple(files)]
    if paths[0].is_dir():
        paths = dicom_files(paths[0]) or paths
    if file_kind(paths[0]) == "dicom":
        facts = facts_of_dicom(open_dicom(paths[0], pixels=False))
        if facts.sequence:
            return facts
        named = _by_folder(paths[0])
        return replace(facts, sequence=named.sequence, because=named.because)
    named = _by_names(paths[0])
    if affine is None or len(shape) != 2:
        return named
    spacing = np.linalg.norm(np.asarray(affine)[:3, :2], axis=0)
    side = float(max(np.asarray(shape) * spacing))
    pixel = (float(spacing.min()), float(spacing.max()))
    return SeriesFacts(named.modality, named.sequence, named.because, side, named.description, pixel)


def facts_of_slices(files: Sequence[PathLike] | PathLike, geometry: SliceGeometry) -> SeriesFacts:
    """`series_facts` of an input that was read as slices.

    Raises:
        DicomFileError: as `series_facts`.
    """
    if geometry.kind not in ("nifti", "dicom"):
        return series_facts(files)
    _, rows, columns = geometry.axes
    shape = (*geometry.shape, 1, 1)
    facts = series_facts(files, (shape[rows], shape[columns]), np.array(geometry.affine)[:, [rows, columns]])
    return replace(facts, placed=geometry.placed)


def facts_of_dicom(dataset: Dataset) -> SeriesFacts:
    """What a DICOM image's header says: names before times, for times overlap between sequences.

    A localiser, a projection, a difference, a map or a picture in colours (`image_origin`) is none of the four
    sequences, whatever it is called, and nor is a scan of the spine. Where the names say two (a T1-weighted FLAIR, a
    series description and a protocol that differ), the times choose between them; else the description counts before
    the protocol.
    """
    keys = ("SeriesDescription", "ProtocolName")
    descriptions = list(dict.fromkeys(text for key in keys if (text := _text(dataset, key))))
    description = " / ".join(descriptions)
    sequence, because = _sequence(dataset, descriptions)
    if sequence == "t1n":
        sequence, because = _with_contrast(dataset, description, because)
    origin = image_origin(dataset)
    if origin.localiser or origin.no_sequence:
        sequence, because = OTHER_SEQUENCE, origin.no_sequence or f"its image type is {origin.text}"
    elif sequence == OTHER_SEQUENCE and _LOCALISER.search(_words(descriptions[0] if descriptions else "")):
        origin = replace(origin, localiser=True)
    body_part = _text(dataset, "BodyPartExamined")
    if elsewhere := shows_elsewhere(description, body_part):
        part = f", its body part {body_part}" if body_part else ""
        sequence, because = OTHER_SEQUENCE, f"its series is called {description!r}{part}"
    return SeriesFacts(
        _text(dataset, "Modality").upper(),
        sequence,
        because,
        _field_of_view(dataset),
        description,
        origin=origin,
        elsewhere=elsewhere,
    )


def _by_names(path: Path) -> SeriesFacts:
    """By the name of a file, which counts before its folder's; where they contradict each other, both are told."""
    stem = input_stem(path.name)
    parsed = parse_free_name(stem)
    if parsed is not None and parsed[1] in SEQUENCE_NAMES:
        folder = next((one for one in _folders(path) if not fits_folder(parsed[1], one)), "")
        doubt = f"its folder is called {folder!r}" if folder else ""
        because = f"its name is {stem!r}{', though ' if doubt else ''}{doubt}"
        return SeriesFacts("MR", parsed[1], because, description=stem, doubt=doubt)
    # a mask is no image, wherever it lies, and what is left open by its own name is not settled by another
    if parsed is not None or leaves_modality_open(stem):
        return SeriesFacts(description=stem)
    return replace(_by_folder(path), description=stem)


def _by_folder(path: Path) -> SeriesFacts:
    for folder in _folders(path):
        parsed = parse_free_name(folder)
        if parsed is not None and parsed[1] in SEQUENCE_NAMES:
            return SeriesFacts("MR", parsed[1], f"its folder is called {folder!r}")
    return SeriesFacts()


def _folders(path: Path) -> list[str]:
    """Names of the folder of a file and of that of the file that it is a link to.

    `ckdmed segment` reads links; those of a data set under version control lead to names that say nothing.
    """
    return list(dict.fromkeys((Path(os.path.abspath(path)).parent.name, Path(os.path.realpath(path)).parent.name)))


def _sequence(dataset: Dataset, descriptions: Sequence[str]) -> tuple[str, str]:
    """The sequence by its names, the times where these leave it open; "" where neither tells."""
    told = f"its series is called {' / '.join(descriptions)!r}"
    # the protocol may be that of the whole examination, with the names of all its sequences
    named = list(dict.fromkeys(one for text in descriptions for one in _named(_words(text))))
    by_times, times = _by_times(dataset)
    if not named:
        return by_times, times
    if len(named) > 1 and named[0] != OTHER_SEQUENCE and by_times and by_times in named:
        return by_times, f"{told}, and {times}"
    return named[0], told if named[0] else ""


def _words(text: str) -> str:
    return text.lower().replace("_", " ")


def _named(text: str) -> tuple[str, ...]:
    """What a name may mean, the likeliest first; "" where that is open."""
    flair, t1, t2 = _FLAIR.search(text), _SAYS_T1.search(text), _SAYS_T2.search(text)
    if flair and (t2 or not t1):
        return ("t2f",)
    if _OTHERS.search(text):
        return (OTHER_SEQUENCE,)
    if flair:
        return ("t1n", "t2f") if _T1_FLAIR.search(text) else ("", "t1n", "t2f")
    if t1 and t2:
        return ("", "t1n", "t2w")
    return ("t1n",) if _T1.search(text) else ("t2w",) if _T2.search(text) else ()


def _by_times(dataset: Dataset) -> tuple[str, str]:
    echo, repetition, inversion = (_number(dataset, key) for key in ("EchoTime", "RepetitionTime", "InversionTime"))
    if echo is None or repetition is None:
        return "", ""
    times = f"its echo time is {echo:g} ms and its repetition time {repetition:g} ms"
    if inversion is not None and inversion > 1500 and echo > 60:
        return "t2f", f"{times}, its inversion time {inversion:g} ms"
    if echo > 60 and repetition > 2000:
        return "t2w", times
    # spin echoes, spoiled gradient echoes, and prepared ones with an inversion time of about a second
    if echo < 30 and (repetition < 1200 or (inversion is not None and 400 < inversion < 1300)):
        return "t1n", times
    return "", ""


def _with_contrast(dataset: Dataset, description: str, because: str) -> tuple[str, str]:
    agent = _text(dataset, "ContrastBolusAgent")
    text = _NOTHING_OF_AN_AGENT.sub(" ", _words(description))
    if _NO_CONTRAST.search(text):
        return "t1n", because
    if agent.lower() not in _NO_AGENT:
        return "t1c", f"{because} and it names the contrast agent {agent!r}"
    if dataset.get("ContrastBolusAgentSequence"):
        return "t1c", f"{because} and it names a contrast agent"
    if _CONTRAST.search(text):
        return "t1c", because
    return "t1n", f"{because}, and nothing in it mentions a contrast agent"


def _field_of_view(dataset: Dataset) -> float | None:
    groups: list[Any] = [dataset, *(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]]
    for group in groups:
        for place in (*(group.get("PixelMeasuresSequence") or [])[:1], group):
            spacing = place.get("PixelSpacing")
            if spacing is not None and len(spacing) == 2:
                return float(max(float(spacing[0]) * int(dataset.Rows), float(spacing[1]) * int(dataset.Columns)))
    return None


def _text(dataset: Dataset, key: str) -> str:
    try:
        value = dataset.get(key)
    # a value is converted when it is read, and each kind of damage raises its own
    except Exception as error:
        raise DicomFileError(f"{getattr(dataset, 'filename', 'a DICOM file')}: {key} is damaged ({error}).") from error
    return "" if value is None else " ".join(str(value).replace("\0", " ").split())


def _number(dataset: Dataset, key: str) -> float | None:
    text = _text(dataset, key)
    try:
        return float(text)
    except ValueError:
        return None
