"""Whose series lie in a folder, and which of them a network was made for."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from pathlib import Path, PurePosixPath

from monai.config import PathLike
from pydicom import Dataset

from ckdmed.clinic.nifti_patients import nifti_patients
from ckdmed.data.datalist import SkippedFile
from ckdmed.data.dicom_file import DicomFileError, open_dicom
from ckdmed.data.dicom_series import SliceGapWarning, group_series, read_dicom_header, read_series_grid
from ckdmed.data.figshare import read_figshare_slice
from ckdmed.data.image_files import InputItem, find_inputs
from ckdmed.data.input_walk import UnusedFiles, refuse_foreign_files
from ckdmed.data.mat73 import FigshareFileError
from ckdmed.data.nifti_files import read_nifti_header
from ckdmed.data.output_names import input_stem, output_names
from ckdmed.data.slice_files import file_kind
from ckdmed.folders import refuse_place_among
from ckdmed.inference.job import LEDGER
from ckdmed.intended_inputs import SEQUENCE_NAMES, SeriesFacts, series_facts

__all__ = ["ChosenSeries", "Patient", "find_patients"]

_SAME_PLACE_MM = 1e-3


@dataclass(frozen=True)
class ChosenSeries:
    """A series that is segmented.

    Args:
        files: of it.
        kind: "dicom", "nifti", "mat" or "picture".
        facts: what it says of itself.
        because: why it was taken.
        slices: how many a volume has by its header, 0 where that cannot be read.
        uid: Series Instance UID, "" of other files.
        time: of its acquisition as DICOM writes it, "" where nothing states it.
    """

    files: tuple[Path, ...]
    kind: str
    facts: SeriesFacts
    because: str
    slices: int = 1
    uid: str = ""
    time: str = ""


@dataclass
class Patient:
    """A patient at one time.

    Args:
        name: of the folder of the results; different for each.
        identifier: as the files have it.
        chosen: what is segmented, of a volume one series.
        passed_over: a line for each series that was not taken.
    """

    name: str
    identifier: str
    chosen: list[ChosenSeries] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def find_patients(
    source: PathLike, sequences: Sequence[str], exclude: PathLike | None = None
) -> tuple[list[Patient], list[SkippedFile], UnusedFiles]:
    """Find patients and choose the series that a network was made for.

    Files belong together by the Patient ID and study of DICOM headers (a series may lie in several folders), by the
    subject of a NIfTI name and its folder (`nifti_patients`), by the patient in a Figshare file; a picture stands for
    itself. Of a
    patient's volumes one is taken: that whose header or name says the sequence, with the most slices that are
    one volume if there are several; else the only one that there is, or one that says nothing, for then the check of
    intended inputs has the last word; not one of CT where a sequence of MR is wanted, nor a localiser. Of what scanners
    and workstations computed from other series (MPR) one is taken where no original fits. Single slices are all taken.

    Args:
        source: a file, a folder, a DICOM series, or a datalist.
        sequences: that the network was made for; empty where that is not known.
        exclude: the folder for the results, which is not searched.

    Returns:
        patients; what cannot be read or has no fitting series, with the cause; and files that are no inputs.

    Raises:
        ValueError: see `find_inputs`; the folder for the results is the folder of the inputs or of one of them, or lies
            among them and holds files that no run wrote.
    """
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    if exclude is not None:
        if Path(exclude).resolve() == folder.resolve():
            raise ValueError(
                f"{exclude} is the folder of the inputs; results could replace files there. Give another --output_dir."
            )
        refuse_foreign_files(Path(exclude), folder, {LEDGER: ()})
    found = find_inputs(source, exclude=exclude)
    if exclude is not None:
        refuse_place_among(Path(exclude), {item.name: item.files for item in found.items}, [folder])
    skipped = list(found.skipped)
    groups: dict[tuple[str, ...], list[ChosenSeries]] = {}
    kinds = [_kind(item) for item in found.items]
    owners = nifti_patients([item.files[0] for item, kind in zip(found.items, kinds) if kind == "nifti"], folder)
    for item, kind in zip(found.items, kinds):
        if kind == "nifti" and item.files[0] not in owners:
            found.unused.add("of other types, or masks", item.files[0])
            continue
        try:
            key, series = _of_item(item, kind, owners)
        except ValueError as error:
            skipped.append(SkippedFile(item.files[0], str(error)))
            continue
        groups.setdefault(key, []).append(series)
    names = output_names([str(PurePosixPath("-".join(part for part in key if part))) for key in _plain(groups)])
    patients = []
    for name, (key, members) in zip(names, groups.items(), strict=True):
        patient = Patient(name, key[0])
        _choose(patient, _joined(members), set(sequences))
        if patient.chosen:
            patients.append(patient)
        else:
            wanted = " or ".join(SEQUENCE_NAMES.get(sequence, sequence) for sequence in sequences)
            # of several series of known sequences none is taken by chance
            unknown = "which sequence the weights take is not recorded beside them (ckdmed intended-inputs record)"
            why = f"no series is {wanted}" if wanted else unknown
            reason = f"{key[0]}: {why}; {'; '.join(patient.passed_over)}."
            skipped.append(SkippedFile(members[0].files[0], reason))
    return patients, skipped, found.unused


def _plain(groups: Mapping[tuple[str, ...], object]) -> list[tuple[str, ...]]:
    """Keys whose parts are no paths; those that would be equal then are told apart by a number.

    A dot is none either: what follows it is not the suffix of a file, as in the names of inputs.
    """
    names = [re.sub(r"[/\\.]", "_", key[0].strip(". ")) or "patient" for key in groups]
    counts = Counter(name.casefold() for name in names)
    # names that are somebody's already
    taken = {name for name, times in counts.items() if times == 1}
    plain: list[tuple[str, ...]] = []
    for name in names:
        if counts[name.casefold()] > 1:
            name = next(f"{name}-{number}" for number in count(1) if f"{name}-{number}".casefold() not in taken)
            taken.add(name.casefold())
        plain.append((name,))
    return plain


def _kind(item: InputItem) -> str:
    path = item.files[0]
    return "dicom" if len(item.files) > 1 or path.is_dir() else str(file_kind(path))


def _of_item(
    item: InputItem, kind: str, owners: Mapping[Path, tuple[str, str]]
) -> tuple[tuple[str, ...], ChosenSeries]:
    path = item.files[0]
    if kind == "dicom":
        dataset = open_dicom(path, pixels=False)
        facts = series_facts(item.files)
        patient = str(dataset.get("PatientID") or dataset.get("StudyInstanceUID") or path.parent.name)
        study = str(dataset.get("StudyInstanceUID") or "")
        uid = str(dataset.get("SeriesInstanceUID") or "")
        slices = len(item.files) if len(item.files) > 1 else _whole(dataset.get("NumberOfFrames"))
        return (patient, study, "volume"), ChosenSeries(item.files, kind, facts, "", slices, uid, _time(dataset))
    facts = series_facts(path)
    if kind == "nifti":
        return (*owners[path], "volume"), ChosenSeries(item.files, kind, facts, "", _nifti_slices(path))
    if kind == "mat":
        try:
            patient = read_figshare_slice(path).patient
        except FigshareFileError:
            # an image alone can be segmented as well
            patient = input_stem(path.name)
        return (patient, str(path.parent), "slices"), ChosenSeries(item.files, kind, facts, "a slice")
    return (item.name, "", "slices"), ChosenSeries(item.files, kind, facts, "a slice")


def _joined(series: Sequence[ChosenSeries]) -> list[ChosenSeries]:
    """Series whose files lie in several folders as one; copies of a series and a localiser's stacks stay apart.

    One of which a slice is missing is put together as well, and refused when it is read: a part of it is no volume.
    """
    parts: dict[str, list[ChosenSeries]] = {}
    for number, one in enumerate(series):
        parts.setdefault(one.uid or f"without {number}", []).append(one)
    joined: list[ChosenSeries] = []
    for members in parts.values():
        if len({one.files[0].parent for one in members}) > 1:
            files = _one_stack([file for one in members for file in one.files])
            # one folder has them all where others hold copies
            if len(files) > max(len(one.files) for one in members):
                members = [replace(members[0], files=files, slices=len(files))]
        joined += members
    return joined


def _one_stack(files: Sequence[Path]) -> tuple[Path, ...]:
    """The files in the order of their slices, if these differ in their places along one normal; else none.

    Of copies of an image the first counts: what was fetched twice may overlap.
    """
    try:
        headers = [read_dicom_header(file) for file in files]
    except DicomFileError:
        return ()
    images = {(header.uid or header.path, header.origins): header for header in reversed(headers)}
    groups = group_series(reversed(list(images.values())))
    heights = [header.heights[0] for header in groups[0]]
    apart = len(groups) == 1 and all(second - first > _SAME_PLACE_MM for first, second in pairwise(heights))
    return tuple(header.path for header in groups[0]) if apart else ()


def _time(dataset: Dataset) -> str:
    values = (str(dataset.get(keyword) or "") for keyword in ("AcquisitionTime", "SeriesTime"))
    return next(filter(None, values), "")


def _nifti_slices(path: Path) -> int:
    try:
        return int((*read_nifti_header(path).shape, 1, 1, 1)[2])
    except ValueError:
        # told when it is read
        return 0


def _whole(number: object) -> int:
    try:
        return max(1, int(str(number)))
    except ValueError:
        return 1


def _most_slices(series: Sequence[ChosenSeries]) -> tuple[ChosenSeries, dict[int, str]]:
    """Of several series the one with most slices that are one volume, an original if there is one; and by their `id`
    why those before it are none.

    Of equally many the last acquired counts: some scanners name the contrast agent in the series before it as well, and
    what was repeated had moved. Where none is a volume the first of them is taken, and skipped with its cause when it
    is read.
    """
    last_first = sorted(series, key=lambda one: one.time, reverse=True)
    order = sorted(last_first, key=lambda one: (_distance(one), -one.slices))
    faults: dict[int, str] = {}
    for one in order if len(order) > 1 else []:
        if not (fault := _fault(one)):
            return one, faults
        faults[id(one)] = fault
    return order[0], {}


def _distance(series: ChosenSeries) -> int:
    """From what the scanner measured: of an examination without faces all is derived, and its reformats more so."""
    return series.facts.origin.derived + series.facts.origin.reformatted


def _fault(series: ChosenSeries) -> str:
    """Why the files of a series are not one volume (a slice is missing, several times), by their headers; "" if they
    are."""
    if series.kind == "nifti":
        try:
            shape = read_nifti_header(series.files[0]).shape
        except ValueError as error:
            return str(error)
        return "" if all(size == 1 for size in shape[3:]) else f"its shape is {tuple(map(int, shape))}"
    with warnings.catch_warnings():
        # told when it is read
        warnings.simplefilter("ignore", SliceGapWarning)
        try:
            read_series_grid(series.files)
        except DicomFileError as error:
            return str(error)
    return ""


def _choose(patient: Patient, series: Sequence[ChosenSeries], sequences: set[str]) -> None:
    if series[0].kind in ("mat", "picture"):
        patient.chosen = list(series)
        return
    usable = [one for one in series if not one.facts.origin.localiser]
    fitting = [one for one in usable if one.facts.sequence in sequences]
    # sequences are of magnetic resonance: a CT beside it fits none, unless nobody knows what the network was made for;
    # "OT" is what converters write
    open_ones = [
        one for one in usable if not one.facts.sequence and (not sequences or one.facts.modality in ("", "MR", "OT"))
    ]
    faults: dict[int, str] = {}
    if fitting:
        best, faults = _most_slices(fitting)
        more = f", the one of {len(fitting)} such series with the most slices" if len(fitting) > 1 else ""
        if _distance(best) < max(map(_distance, fitting)):
            more = f", of {len(fitting)} such series the least processed with the most slices"
        more += " that are one volume" if faults else ""
        if any(one.slices == best.slices and "" != one.time < best.time for one in fitting):
            more += ", acquired last"
        because = f"it is {best.facts.sequence_text}: {best.facts.because}{more}"
    elif len(usable) == 1:
        best, because = usable[0], "it is the only series" + (" that is no localiser" if len(series) > 1 else "")
    elif open_ones:
        best, faults = _most_slices(open_ones)
        because = "nothing states its sequence, and the others do not match"
    else:
        best, because = None, ""
    for one in series:
        if one is not best:
            what = one.facts.sequence_text if one.facts.sequence else "an unknown sequence"
            # files of DICOM series are called alike in every folder
            alike = one.kind == "dicom" or len({other.files[0].name for other in series}) < len(series)
            name = str(one.files[0]) if alike else one.files[0].name
            fault = f", but no volume: {faults[id(one)].rstrip('.')}" if id(one) in faults else ""
            why = one.facts.because or "nothing states it"
            patient.passed_over.append(f"{name} is {what} ({why}){_made_of_others(one)}{fault}")
    if best is not None:
        patient.chosen = [replace(best, because=because + _made_of_others(best))]


def _made_of_others(series: ChosenSeries) -> str:
    origin = series.facts.origin
    # an image type that says the sequence is named already
    return f", derived from other images ({origin.text})" if origin.derived and not origin.no_sequence else ""
