"""Segmenting patients: one inference over all chosen series, then what a clinic reads of it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from skimage.io import imread

from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.run_lock import hold, release
from ckdmed.bundle.workflow import bundle_workflow
from ckdmed.bundle_files import bundle_root
from ckdmed.clinic.links import INPUTS, clear_links, link_series, note_sources, numbered, place_of
from ckdmed.clinic.patient_rows import TABLE, write_rows
from ckdmed.clinic.patients import ChosenSeries, Patient
from ckdmed.counted import counted
from ckdmed.data.datalist import SkippedFile
from ckdmed.data.nifti_files import affine_mm, open_nifti
from ckdmed.data.written_files import checksum, edited_note
from ckdmed.files import write_atomic
from ckdmed.folders import refuse_place_among
from ckdmed.inference import InputsSkipped
from ckdmed.inference.final_notes import write_skipped
from ckdmed.inference.job import LEDGER, SKIPPED
from ckdmed.inference.ledger import add_checksums, read_ledger
from ckdmed.json_files import read_json
from ckdmed.paths import output_path
from ckdmed.research_use import RESEARCH_USE_ONLY

__all__ = ["TABLE", "PatientResult", "segment_patients"]

_CHECKPOINT = "models/model.pt"


@dataclass(frozen=True)
class PatientResult:
    """A row of the table.

    Args:
        patient: its identifier.
        folder: of its results.
        series: file or folder that was segmented; of slices how many.
        because: why this series was taken.
        passed_over: the others.
        volume_ml: of what is marked, in any region; "" where voxels have no size.
        marked_voxels: how many are marked, in any region.
        intended: "intended", "outside" or "unknown".
        reasons: why it is not an input that the network was made for.
        outputs: files, relative to the output folder.
        note: what has to be known of every result.
    """

    patient: str
    folder: str
    series: str
    because: str
    passed_over: str
    volume_ml: str
    marked_voxels: int
    intended: str
    reasons: str
    outputs: str
    note: str = RESEARCH_USE_ONLY

    @property
    def line(self) -> str:
        """The same for a terminal."""
        size = f"{self.volume_ml} ml" if self.volume_ml else counted(self.marked_voxels, "pixel")
        warning = f"; NOT AN INPUT THAT THE NETWORK WAS MADE FOR: {self.reasons}" if self.intended == "outside" else ""
        return f"{self.patient}: {size} marked in {self.series} ({self.because}){warning}"


def segment_patients(
    patients: Sequence[Patient],
    output_dir: Path,
    bundle: Path,
    settings: Mapping[str, Any] | None = None,
    dicom: bool = True,
    each: Callable[[PatientResult], object] | None = None,
    unread: Sequence[SkippedFile] = (),
    replace: bool = False,
) -> tuple[list[PatientResult], list[SkippedFile]]:
    """Segment the chosen series of patients.

    What an earlier call has finished there is kept, so a run that was interrupted goes on.

    Args:
        patients: see `find_patients`.
        output_dir: gets a folder for each patient, `patients.csv` of these and of earlier calls' patients, and
            `report.json` and `skipped.csv` of this call.
        bundle: folder of the configuration of a segmentation bundle with weights.
        settings: of its `inference.json`; ``checkpoint`` among them is other weights than the bundle's own.
        dicom: whether to write DICOM Segmentation and structured report for DICOM series.
        each: called with each result.
        unread: what `find_patients` skipped. Where there are no patients, this list alone is written.
        replace: make results anew that other weights or settings made there.

    Returns:
        a result for each patient that was segmented, and what was skipped: ``unread``, inputs, and DICOM results of
        series that no result can refer to (their masks and volumes are there).

    Raises:
        ValueError: the folder `inputs` of the output folder holds files that this function did not make; the output
            folder is that of a series, or holds the results of another series of the same name.
        RefusedStart: another run uses the output folder; it holds results of these series by other weights or settings,
            and ``replace`` is off; DICOM results are asked for and highdicom is not installed.
    """
    if dicom and any(series.kind == "dicom" for one in patients for series in one.chosen):
        _check_highdicom()
    # where it may lie among the inputs, `find_patients` says; here the originals have to be safe alone
    refuse_place_among(
        output_dir, {f"{one.name}/{number}": s.files for one in patients for number, s in enumerate(one.chosen)}
    )
    # another call would put other patients' files behind the links that this one reads
    hold(output_dir)
    try:
        results, skipped = _segmented(patients, output_dir, bundle, settings, dicom, each, replace)
        skipped = [*unread, *skipped]
        if not (ledger := output_path(output_dir, LEDGER)).exists():
            # by which a later call knows the folder as one of results
            write_atomic(ledger, lambda path: path.write_bytes(b""))
        listed = [{"file": str(entry.path), "cause": entry.reason} for entry in skipped]
        write_skipped(output_path(output_dir, SKIPPED), listed)
        return results, skipped
    finally:
        release(output_dir)


def _check_highdicom() -> None:
    """Before the networks take their time."""
    if importlib.util.find_spec("highdicom") is None:
        raise RefusedStart(
            "the DICOM results need the package highdicom, which is not installed: pip install 'ckdmed[dicom]'; or "
            "leave them out with --no-dicom"
        )


def _segmented(
    patients: Sequence[Patient],
    output_dir: Path,
    bundle: Path,
    settings: Mapping[str, Any] | None,
    dicom: bool,
    each: Callable[[PatientResult], object] | None,
    replace: bool,
) -> tuple[list[PatientResult], list[SkippedFile]]:
    inputs = output_dir / INPUTS
    workflow = None
    if patients:
        given = {"dataset_dir": str(inputs), "output_dir": str(output_dir), "resume": True, **(settings or {})}
        workflow = bundle_workflow(bundle, given, ("inference.json",))
        workflow.initialize()
    if workflow is not None:
        note_sources(output_dir, patients)
    clear_links(inputs)
    if workflow is None:
        return [], []
    # absolute, as an inference's report has its inputs
    placed = {
        link_series(inputs, patient, number, series).absolute(): (patient, series)
        for patient in patients
        for number, series in enumerate(patient.chosen)
    }
    job = workflow.parser.get_parsed_content("job")
    # the originals lie behind links, and only who searched for them knows which folders they share
    job.place_is_checked = True
    # those of an earlier call are no longer linked, and so are not missing
    job.earlier_inputs_may_be_gone = True
    job.results_of_others_stay = not replace
    workflow.run()
    used, checkpoint = dict(job.settings), Path(job.checkpoint)
    skipped: list[SkippedFile] = []
    told: set[Path | None] = set()
    try:
        workflow.finalize()
    except InputsSkipped as found:
        skipped = _by_their_own_names(found.skipped, placed)
        told = {place_of(entry.path, placed) for entry in found.skipped}
    # the run gave it up, and its outputs are read below
    hold(output_dir)
    of_patient: dict[str, list[tuple[ChosenSeries, dict[str, Any]]]] = {}
    for result in read_json(output_dir / "report.json")["results"]:
        # an earlier version's result that is kept has it as it was given then
        place = place_of(Path(result["input"][0]), placed)
        if place is not None:
            patient, series = placed[place]
            of_patient.setdefault(patient.name, []).append((series, result))
            told.add(place)
    # no patient is lost without a word
    for place, (_, series) in placed.items():
        if place not in told:
            skipped.append(SkippedFile(series.files[0], f"{series.files[0]}: the inference's report does not name it"))
    results = []
    for patient in patients:
        if patient.name in of_patient:
            result, without = _result(
                patient, of_patient[patient.name], output_dir, bundle, used, dicom, checkpoint=checkpoint
            )
            results.append(result)
            skipped += without
            if each is not None:
                each(result)
    columns = [one.name for one in fields(PatientResult)]
    write_rows([asdict(result) for result in results], columns, output_dir, {one.name for one in patients})
    return results, skipped


def _by_their_own_names(
    skipped: Sequence[SkippedFile], placed: Mapping[Path, tuple[Patient, ChosenSeries]]
) -> list[SkippedFile]:
    renamed = []
    for entry in skipped:
        place = place_of(entry.path, placed)
        if place is None:
            renamed.append(entry)
            continue
        files = placed[place][1].files
        # as the reason writes it, which is where the inference was given it
        given = entry.path if entry.path.absolute() == place else entry.path.parent
        names = {str(given): str(files[0])}
        if placed[place][1].kind == "dicom":
            names = {str(given): str(files[0].parent)}
            for link, file in zip(numbered(files), files):
                names |= {str(given / link): str(file), link: file.name}
        # in one go, as the files may have such numbers for names too; the longest first
        links = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        reason = re.sub(rf"(?<!\w)(?:{links})", lambda found: names[found[0]], _cause(entry, given))
        own = next((file for file in files if reason.startswith(f"{file}:")), files[0])
        renamed.append(SkippedFile(own, reason))
    return renamed


def _cause(entry: SkippedFile, given: Path) -> str:
    """Why it was skipped, without the input's own name where another file, or the folder, is named behind it."""
    behind = entry.reason.removeprefix(f"{entry.path}: ")
    return behind if behind.startswith(str(given)) else entry.reason


def _result(
    patient: Patient,
    parts: Sequence[tuple[ChosenSeries, dict[str, Any]]],
    output_dir: Path,
    bundle: Path,
    settings: Mapping[str, Any],
    dicom: bool,
    checkpoint: Path | None = None,
) -> tuple[PatientResult, list[SkippedFile]]:
    voxels, millilitres, outputs = 0, 0.0, []
    sized = True
    skipped = []
    for series, result in parts:
        outputs += result["outputs"]
        masks = {name: output_dir / name for name in result["outputs"] if name.endswith(("_mask.nii.gz", "_mask.png"))}
        arrays, voxel_ml = {}, 0.0
        for name, file in masks.items():
            if series.kind in ("nifti", "dicom"):
                image = open_nifti(file)
                arrays[name] = np.asarray(image.dataobj) > 0
                voxel_ml = abs(float(np.linalg.det(affine_mm(image)[:3, :3]))) / 1000
                # of an array of two axes no header tells how thick the slice is
                sized = sized and len(image.shape) > 2
            else:
                arrays[name], sized = imread(file) > 0, False
        # regions may overlap
        marked = int(np.logical_or.reduce(list(arrays.values())).sum())
        voxels += marked
        millilitres += marked * voxel_ml
        if series.kind == "dicom" and dicom:
            folder = series.files[0].parent
            written = _dicom_checksums(output_dir, str(result["name"]))
            if note := edited_note(written, output_dir):
                skipped.append(SkippedFile(folder, f"{folder}: the DICOM results are not written again. {note}"))
                continue
            if written and all(checksum(output_dir / file) == stated for file, stated in written.items()):
                outputs += written
                continue
            try:
                outputs += _write_dicom(
                    series,
                    result,
                    arrays,
                    output_dir,
                    bundle,
                    settings,
                    checkpoint or bundle_root(bundle) / _CHECKPOINT,
                )
            # highdicom raises its own for each attribute that is missing or odd; the other patients get theirs
            except (ValueError, AttributeError, KeyError, TypeError) as error:
                cause = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                skipped.append(SkippedFile(folder, f"{folder}: masks, but no DICOM result: {cause}"))
    checks = [result.get("intended_inputs") or {"status": "unknown", "reasons": []} for _, result in parts]
    states = [str(check["status"]) for check in checks]
    # one slice that is not intended is told of
    state = next((one for one in ("outside", "unknown") if one in states), "intended")
    reasons = dict.fromkeys(reason for check in checks for reason in check["reasons"])
    first = parts[0][0]
    what = str(first.files[0].parent if first.kind == "dicom" else first.files[0])
    if others := len({file.parent for file in first.files}) - 1:
        what += f" and {counted(others, 'further folder')}"
    row = PatientResult(
        patient.identifier,
        patient.name,
        what if len(parts) == 1 else f"{len(parts)} slices",
        first.because,
        "; ".join(patient.passed_over),
        f"{millilitres:.2f}" if sized else "",
        voxels,
        state,
        "; ".join(reasons),
        " ".join(outputs),
    )
    return row, skipped


def _write_dicom(
    series: ChosenSeries,
    result: Mapping[str, Any],
    masks: Mapping[str, np.ndarray],
    output_dir: Path,
    bundle: Path,
    settings: Mapping[str, Any],
    checkpoint: Path,
) -> list[str]:
    # an extra of the package
    from ckdmed.dicom_results import Algorithm, write_results

    check = result.get("intended_inputs") or {"status": "unknown"}
    unintended = None if check["status"] == "unknown" else list(check["reasons"])
    name = str(result["name"])
    regions = {_region(file, name): mask for file, mask in masks.items()}
    written = write_results(
        series.files,
        regions,
        output_dir,
        algorithm=Algorithm.of_checkpoint(bundle_root(bundle).name, checkpoint, settings),
        unintended=unintended,
        prefix=f"{name}_",
    )
    files = [path.relative_to(output_dir.resolve()).as_posix() for path in map(Path.resolve, written.files)]
    add_checksums(output_path(output_dir, LEDGER), name, files)
    return files


def _dicom_checksums(output_dir: Path, name: str) -> dict[str, object]:
    """Of the DICOM results that an earlier call made of a result that is kept."""
    known = read_ledger(output_dir / LEDGER).get(name, {}).get("checksums")
    return {file: stated for file, stated in (known or {}).items() if file.endswith(".dcm")}


def _region(file: str, name: str) -> str:
    middle = file.removeprefix(name).split("_mask.")[0].strip("_")
    return middle or "tumour"
