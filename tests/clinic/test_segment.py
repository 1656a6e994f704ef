"""Which series of which patient is taken, and what comes of a folder of several."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from skimage.io import imsave

from ckdmed.bundle.errors import root_cause
from ckdmed.bundle.run_lock import hold
from ckdmed.bundle_files import bundle_folder
from ckdmed.cli import main
from ckdmed.clinic import find_patients
from ckdmed.clinic.links import link_series
from ckdmed.clinic.patients import ChosenSeries, Patient
from ckdmed.clinic.run import _by_their_own_names, _result, segment_patients
from ckdmed.data.input_walk import SkippedFile
from ckdmed.data.slice_files import read_slices
from ckdmed.data.written_files import edited_note
from ckdmed.file_hash import sha256_of
from ckdmed.inference.ledger import read_ledger
from ckdmed.intended_inputs import SeriesFacts
from tests.dicom_results.mr_series import write_enhanced_mr, write_mr_series
from tests.other_process import after

SEQUENCES = ["t1c"]


def volume(path: Path, slices: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(1, 200, (40, 36, slices)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2.0, 5.0, 1.0])), path)
    return path


def test_the_series_that_the_network_was_made_for_is_taken(tmp_path: Path) -> None:
    for name in ("a/a_t1ce", "a/a_flair", "a/a_seg", "b/b_t1", "c/c_t2", "c/c_flair"):
        volume(tmp_path / f"{name}.nii.gz")
    imsave(tmp_path / "slice.png", np.eye(9, dtype=np.uint8) * 200, check_contrast=False)
    patients, skipped, _ = find_patients(tmp_path, SEQUENCES)
    taken = {patient.identifier: patient.chosen[0] for patient in patients}
    assert set(taken) == {"a", "b", "slice"}
    assert taken["a"].files[0].name == "a_t1ce.nii.gz" and "contrast-enhanced T1" in taken["a"].because
    assert [line.split(" (")[0] for patient in patients for line in patient.passed_over] == ["a_flair.nii.gz is FLAIR"]
    # a single series is taken whatever it is: the check of intended inputs tells what it is not
    assert taken["b"].because == "it is the only series"
    (left,) = skipped
    assert "c: no series is contrast-enhanced T1" in left.reason and "c_t2.nii.gz is T2" in left.reason


def test_series_of_dicom_headers(tmp_path: Path, shared_data: Path) -> None:
    for file in sorted((shared_data / "dicom/t1w").iterdir())[:3]:
        (tmp_path / file.name).symlink_to(file)
    (patient,), skipped, _ = find_patients(tmp_path, SEQUENCES)
    assert (patient.identifier, patient.chosen[0].kind, skipped) == ("02", "dicom", [])
    assert len(patient.chosen[0].files) == 3 and patient.chosen[0].facts.sequence == "t1n"


def test_of_dicom_series_that_are_not_taken_the_path_is_told(tmp_path: Path, shared_data: Path) -> None:
    import pydicom
    from pydicom.uid import generate_uid

    for series in ("early", "late"):
        (tmp_path / series).mkdir()
        for file in sorted((shared_data / "dicom/t1w").iterdir())[:3]:
            image = pydicom.dcmread(file)
            image.SeriesInstanceUID = generate_uid(entropy_srcs=[series])
            image.save_as(tmp_path / series / file.name)
    patients, (left,), _ = find_patients(tmp_path, SEQUENCES)
    assert not patients and all(f"{tmp_path / series}/" in left.reason for series in ("early", "late"))


def test_two_cases_of_one_name_get_folders_of_their_own(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        volume(tmp_path / folder / "p_t1ce.nii.gz")
    patients, _, _ = find_patients(tmp_path, SEQUENCES)
    assert [patient.name for patient in patients] == [patient.identifier for patient in patients] == ["one-p", "two-p"]


@pytest.mark.parametrize(
    ("identifiers", "names"),
    [
        (["P", "P", "P-1"], ["P-2", "P-3", "P-1"]),
        (["P", "p"], ["P-1", "p-2"]),
        (["12.5", "12"], ["12_5", "12"]),
        (["a/b", "a_b"], ["a_b-1", "a_b-2"]),
    ],
)
def test_each_patient_at_each_time_has_a_folder_of_its_own_name(
    tmp_path: Path, identifiers: list[str], names: list[str]
) -> None:
    for number, identifier in enumerate(identifiers):
        values = np.random.default_rng(0).integers(0, 800, (8, 8, 2))
        write_mr_series(tmp_path / f"{number}", values, patient=identifier, number=number)
    patients, skipped, _ = find_patients(tmp_path, SEQUENCES)
    assert [(patient.identifier, patient.name) for patient in patients] == list(zip(identifiers, names))
    assert not skipped


def test_of_two_fitting_series_that_with_most_slices_is_taken_however_they_are_stored(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 800, (8, 8, 9))
    write_mr_series(tmp_path / "few", values[..., :3], study="1.2.3")
    image = dcmread(write_enhanced_mr(tmp_path / "many.dcm", values))
    image.StudyInstanceUID, image.SeriesDescription = "1.2.3", "t1 mprage KM"
    image.save_as(tmp_path / "many.dcm")
    (patient,), _, _ = find_patients(tmp_path, SEQUENCES)
    assert [path.name for path in patient.chosen[0].files] == ["many.dcm"]


def test_of_nifti_files_that_fit_that_with_most_slices_that_is_one_volume_is_taken(tmp_path: Path) -> None:
    for name, slices in (("P1_T1_GAD", 3), ("P1_t1c", 9)):
        volume(tmp_path / f"{name}.nii.gz", slices)
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 20, 2), np.int16), np.eye(4)), tmp_path / "P1_t1ce.nii.gz")
    (tmp_path / "P1_t1_km.nii.gz").write_bytes(b"damaged")
    (patient,), _, _ = find_patients(tmp_path, SEQUENCES)
    assert patient.chosen[0].files[0].name == "P1_t1c.nii.gz"
    assert patient.chosen[0].because.endswith("the one of 4 such series with the most slices that are one volume")
    assert any(line.endswith("but no volume: its shape is (4, 4, 20, 2)") for line in patient.passed_over)


def test_of_two_series_with_a_contrast_agent_and_as_many_slices_the_later_is_taken(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 800, (8, 8, 3))
    for number, (description, time) in enumerate((("AX T1", "101500"), ("AX T1 POST", "103000.5"), ("AX T1", ""))):
        for file in write_mr_series(tmp_path / str(number), values, study="1.2.3", description=description):
            image = dcmread(file)
            # in all series of the examination, for the technologist entered it at its beginning
            image.ContrastBolusAgent, image.AcquisitionTime = "Gadavist", time
            image.save_as(file)
    (patient,), _, _ = find_patients(tmp_path, SEQUENCES)
    assert patient.chosen[0].files[0].parent.name == "1"
    assert patient.chosen[0].because.endswith("of 3 such series with the most slices, acquired last")


@pytest.mark.parametrize("both", [False, True], ids=["one is a volume", "none is"])
def test_of_two_fitting_series_one_that_is_a_volume_is_taken(tmp_path: Path, both: bool) -> None:
    values = np.random.default_rng(0).integers(0, 800, (8, 8, 6))
    whole = write_mr_series(tmp_path / "whole", values[..., :4], study="1.2.3", number=5)
    gappy = write_mr_series(tmp_path / "gappy", values, study="1.2.3")
    gappy.pop(2).unlink()
    if both:
        whole.pop(1).unlink()
    (patient,), skipped, _ = find_patients(tmp_path, SEQUENCES)
    (chosen,), (line,) = patient.chosen, patient.passed_over
    assert chosen.files == tuple(gappy if both else whole) and not skipped
    assert ("but no volume: " in line and "a slice is missing" in line) == (not both)
    assert chosen.because.endswith("series with the most slices" if both else "the most slices that are one volume")


def of_type(files: Sequence[Path], *words: str) -> None:
    for file in files:
        image = dcmread(file)
        image.ImageType = [*words]
        image.save_as(file)


def test_an_original_is_taken_before_what_was_computed_from_it(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 800, (8, 8, 6))
    write_mr_series(tmp_path / "original", values[..., :3], study="1.2.3")
    of_type(write_mr_series(tmp_path / "mpr", values, study="1.2.3"), "DERIVED", "SECONDARY", "MPR")
    of_type(write_mr_series(tmp_path / "sub", values, study="1.2.3"), "DERIVED", "SECONDARY", "SUB")
    of_type(write_mr_series(tmp_path / "plan", values, study="1.2.3"), "ORIGINAL", "PRIMARY", "LOCALIZER")
    (patient,), _, _ = find_patients(tmp_path, SEQUENCES)
    (chosen,) = patient.chosen
    assert chosen.files[0].parent.name == "original"
    assert chosen.because.endswith("of 2 such series the least processed with the most slices")
    told = "; ".join(patient.passed_over)
    assert "mpr/IM0000 is contrast-enhanced T1" in told and "other images (DERIVED\\SECONDARY\\MPR)" in told
    assert "sub/IM0000 is another sequence (its image type is DERIVED\\SECONDARY\\SUB)" in told
    assert "plan/IM0000 is a localiser (its image type is ORIGINAL\\PRIMARY\\LOCALIZER)" in told


def test_a_reformat_is_taken_where_there_is_no_original_and_a_localiser_never(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 800, (8, 8, 3))
    of_type(write_mr_series(tmp_path / "mpr", values, study="1.2.3"), "DERIVED", "SECONDARY", "MPR")
    write_mr_series(tmp_path / "plan", values, study="1.2.3", description="localizer")
    write_mr_series(tmp_path / "alone", values, patient="P2", description="localizer")
    (patient,), (left,), _ = find_patients(tmp_path, SEQUENCES)
    assert patient.chosen[0].because.endswith(", derived from other images (DERIVED\\SECONDARY\\MPR)")
    assert "P2: no series is contrast-enhanced T1" in left.reason and "is a localiser" in left.reason


@pytest.mark.parametrize("folders", [2, 6])
def test_a_series_that_lies_in_several_folders_is_one(tmp_path: Path, folders: int) -> None:
    values = np.random.default_rng(0).integers(0, 800, (8, 8, 6))
    files = write_mr_series(tmp_path / "all", values)
    parts = []
    for index, file in enumerate(files):
        parts.append(tmp_path / "in" / str(9 - index * folders // 6) / file.name)
        parts[-1].parent.mkdir(parents=True, exist_ok=True)
        file.rename(parts[-1])
    (patient,), skipped, _ = find_patients(tmp_path / "in", SEQUENCES)
    assert patient.chosen[0].files == tuple(parts) and not patient.passed_over and not skipped


@pytest.mark.parametrize("folders", [2, 6])
def test_of_a_series_in_several_folders_no_part_is_taken_for_the_whole(tmp_path: Path, folders: int) -> None:
    values = np.random.default_rng(0).integers(0, 800, (8, 8, 6))
    files = write_mr_series(tmp_path / "all", values)
    files.pop(2).unlink()
    for index, file in enumerate(files):
        place = tmp_path / "in" / str(index * folders // 6) / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)
    (patient,), _, _ = find_patients(tmp_path / "in", SEQUENCES)
    (chosen,) = patient.chosen
    assert {path.name for path in chosen.files} == {file.name for file in files} and not patient.passed_over
    with pytest.raises(ValueError, match="a slice is missing or unreadable"):
        read_slices(chosen.files)


def test_parts_of_a_series_that_overlap_are_one(tmp_path: Path) -> None:
    files = write_mr_series(tmp_path / "in/a", np.random.default_rng(0).integers(0, 800, (8, 8, 6)))
    (tmp_path / "in/b").mkdir()
    for file in files[2:]:
        (tmp_path / "in/b" / file.name).write_bytes(file.read_bytes())
    for file in files[4:]:
        file.unlink()
    (patient,), _, _ = find_patients(tmp_path / "in", SEQUENCES)
    (chosen,) = patient.chosen
    assert chosen.files == (*files[:4], *(tmp_path / "in/b" / file.name for file in files[4:]))
    assert chosen.slices == 6 and not patient.passed_over


def test_a_copy_of_a_series_is_not_put_together_with_it(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 800, (8, 8, 3))
    files = write_mr_series(tmp_path / "in/a", values)
    (tmp_path / "in/b").mkdir()
    for file in files:
        (tmp_path / "in/b" / file.name).write_bytes(file.read_bytes())
    (patient,), _, _ = find_patients(tmp_path / "in", SEQUENCES)
    assert patient.chosen[0].files == tuple(files) and len(patient.passed_over) == 1


def test_another_modality_is_not_taken_for_a_sequence_that_nothing_tells(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 800, (8, 8, 3))
    write_mr_series(tmp_path / "t2", values, study="1.2.3", description="t2 tse tra")
    for file in write_mr_series(tmp_path / "ct", values, study="1.2.3", description="head 5.0"):
        image = dcmread(file)
        image.Modality = "CT"
        del image.EchoTime
        image.save_as(file)
    patients, (left,), _ = find_patients(tmp_path, SEQUENCES)
    assert not patients and "no series is contrast-enhanced T1" in left.reason


@pytest.mark.parametrize(("sequences", "modality"), [((), "CT"), (SEQUENCES, "OT")])
def test_a_series_that_may_be_meant_is_taken(tmp_path: Path, sequences: Sequence[str], modality: str) -> None:
    for count in (3, 4):
        values = np.random.default_rng(0).integers(0, 800, (8, 8, count))
        for file in write_mr_series(tmp_path / str(count), values, study="1.2.3", description="head 5.0"):
            image = dcmread(file)
            image.Modality = modality
            del image.EchoTime
            image.save_as(file)
    (patient,), _, _ = find_patients(tmp_path, sequences)
    assert patient.chosen[0].slices == 4


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (".", "is the folder of the inputs"),
        ("results", "holds 1 file that no run wrote, such as a/a_t1ce_mask.nii.gz"),
        ("a/out", "the folder of a"),
    ],
)
def test_results_come_to_no_place_where_files_of_others_lie(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, message: str
) -> None:
    volume(tmp_path / "a/a_t1ce.nii.gz")
    masks = [tmp_path / "a/a_t1ce_mask.nii.gz", tmp_path / "results/a/a_t1ce_mask.nii.gz"]
    before = [volume(mask).read_bytes() for mask in masks]
    assert main(["segment", str(tmp_path), "-o", str(tmp_path / place)]) == 2
    assert message in capsys.readouterr().err
    assert [mask.read_bytes() for mask in masks] == before and not (tmp_path / place / "inputs").exists()


@pytest.mark.parametrize("patients", [["p"], ["p", "q"]])
def test_results_may_come_to_a_folder_of_their_own_among_the_inputs(tmp_path: Path, patients: list[str]) -> None:
    for name in patients:
        volume(tmp_path / f"in/{name}.nii.gz", slices=1)
    out = tmp_path / "in/results"
    for _ in range(2):
        assert main(["segment", str(tmp_path / "in"), "-o", str(out), "--no-tta"]) == 0
        assert [row["patient"] for row in csv.DictReader((out / "patients.csv").open(encoding="utf-8"))] == patients


def test_nothing_is_written_before_all_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = volume(tmp_path / "in/p/p.nii.gz")
    patient = Patient("p", "p", [ChosenSeries((file,), "nifti", SeriesFacts(), "it is the only series")])
    with pytest.raises(ValueError, match="is a folder of the inputs"):
        segment_patients([patient], file.parent, bundle_folder("seg_kd"))
    with pytest.raises(RuntimeError) as caught:
        segment_patients([patient], tmp_path / "out", bundle_folder("seg_kd"), {"tda": True})
    assert "'tda' is not a setting of this bundle" in str(root_cause(caught.value))
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == [file]


def test_links_that_another_run_reads_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    link = out / "inputs/p/a.nii.gz"
    link.parent.mkdir(parents=True)
    link.symlink_to(volume(tmp_path / "a.nii.gz"))
    with after(hold, out):
        with pytest.raises(ValueError, match="is in use by another run"):
            segment_patients([], out, tmp_path)
    assert link.is_symlink()


def test_files_of_others_in_the_place_of_links_stay(tmp_path: Path) -> None:
    mine = tmp_path / "out/inputs/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("x")
    with pytest.raises(ValueError, match="mine.txt: not a link that this command made"):
        segment_patients([], tmp_path / "out", tmp_path)
    assert mine.read_text() == "x"


@pytest.mark.parametrize(("kind", "unit", "size"), [("nifti1", "mm", 2.0), ("nifti2", "micron", 2000.0)])
def test_the_volume_is_that_of_all_regions_together_in_millilitres(
    tmp_path: Path, kind: str, unit: str, size: float
) -> None:
    masks = np.zeros((2, 10, 10, 10), np.uint8)
    masks[0, :5], masks[1, 3:6] = 1, 1
    for name, mask in zip(("core", "whole"), masks):
        image = {"nifti1": nib.Nifti1Image, "nifti2": nib.Nifti2Image}[kind](mask, np.diag([size, size, size, 1]))
        image.header.set_xyzt_units(xyz=unit)
        nib.save(image, tmp_path / f"a_{name}_mask.nii.gz")
    series = ChosenSeries((tmp_path / "a.nii.gz",), "nifti", SeriesFacts(), "it is the only series")
    result = {"name": "a", "outputs": ["a_core_mask.nii.gz", "a_whole_mask.nii.gz"]}
    row, _ = _result(Patient("a", "a", [series]), [(series, result)], tmp_path, tmp_path, {}, dicom=False)
    # 600 voxels of 8 cubic millimetres
    assert (row.marked_voxels, row.volume_ml) == (600, "4.80")


def test_a_nifti_slice_of_no_thickness_is_counted_in_pixels(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((3, 4), np.uint8), np.diag([2.0, 2.0, 1.0, 1.0])), tmp_path / "a_mask.nii.gz")
    series = ChosenSeries((tmp_path / "a.nii.gz",), "nifti", SeriesFacts(), "it is the only series")
    result = {"name": "a", "outputs": ["a_mask.nii.gz"]}
    row, _ = _result(Patient("a", "a", [series]), [(series, result)], tmp_path, tmp_path, {}, dicom=False)
    assert (row.marked_voxels, row.volume_ml) == (12, "") and "12 pixels marked" in row.line


def test_of_a_series_in_several_folders_their_number_is_told(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "a_mask.nii.gz")
    files = tuple(tmp_path / name for name in ("x/1.dcm", "x/2.dcm", "y/3.dcm"))
    series = ChosenSeries(files, "dicom", SeriesFacts(), "")
    result = {"name": "a", "outputs": ["a_mask.nii.gz"]}
    row, _ = _result(Patient("a", "a", [series]), [(series, result)], tmp_path, tmp_path, {}, dicom=False)
    assert row.series == f"{tmp_path / 'x'} and 1 further folder"


def test_only_masks_are_counted_whatever_the_name_of_the_input(tmp_path: Path) -> None:
    values = {"mask": np.eye(2, dtype=np.uint8)[..., None], "probability": np.full((2, 2, 1), 0.1, np.float32)}
    for kind, array in values.items():
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"a_mask.2_{kind}.nii.gz")
    series = ChosenSeries((tmp_path / "a_mask.2.nii.gz",), "nifti", SeriesFacts(), "it is the only series")
    result = {"name": "a_mask.2", "outputs": ["a_mask.2_mask.nii.gz", "a_mask.2_probability.nii.gz"]}
    row, _ = _result(Patient("a", "a", [series]), [(series, result)], tmp_path, tmp_path, {}, dicom=False)
    assert row.marked_voxels == 2


def test_an_attribute_that_no_result_can_be_made_of_leaves_the_others_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*_: object) -> list[str]:
        raise AttributeError("no attribute 'EchoTime'")

    monkeypatch.setattr("ckdmed.clinic.run._write_dicom", odd)
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "a_mask.nii.gz")
    series = ChosenSeries((tmp_path / "in/1.dcm",), "dicom", SeriesFacts(), "")
    result = {"name": "a", "outputs": ["a_mask.nii.gz"]}
    row, (told,) = _result(Patient("a", "a", [series]), [(series, result)], tmp_path, tmp_path, {}, dicom=True)
    assert row.marked_voxels == 8 and "in: masks, but no DICOM result: AttributeError: no attribute" in told.reason


def test_dicom_results_name_the_weights_that_were_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("highdicom", reason="needs the extra dicom")
    named: list[str] = []

    def written(*_: object, algorithm: Any, **__: object) -> SimpleNamespace:
        named.append(algorithm.weights)
        return SimpleNamespace(files=[])

    monkeypatch.setattr("ckdmed.dicom_results.write_results", written)
    own = tmp_path / "own.pt"
    own.write_bytes(b"weights")
    result = {"name": "a", "outputs": []}
    (tmp_path / "results.jsonl").write_text(json.dumps(result) + "\n", encoding="utf-8")
    series = ChosenSeries((tmp_path / "in/1.dcm",), "dicom", SeriesFacts(), "")
    # the bundle's folder has no weights
    _result(Patient("a", "a", [series]), [(series, result)], tmp_path, tmp_path, {}, dicom=True, checkpoint=own)
    assert named == [sha256_of(own)]


def test_dicom_results_that_somebody_corrected_stay(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="needs the extra dicom")
    values = np.random.default_rng(0).integers(1, 800, (8, 8, 3))
    files = write_mr_series(tmp_path / "in", values)
    out, bundle = tmp_path / "out", tmp_path / "seg_kd"
    (bundle / "models").mkdir(parents=True)
    (bundle / "models/model.pt").write_bytes(b"weights")
    out.mkdir()
    nib.save(nib.Nifti1Image((values > 400).astype(np.uint8), np.diag([-0.8, -0.9, 3, 1])), out / "a_mask.nii.gz")
    result = {"name": "a", "input": [str(tmp_path / "in")], "outputs": ["a_mask.nii.gz"]}
    (out / "results.jsonl").write_text(json.dumps(result) + "\n", encoding="utf-8")
    series = ChosenSeries(tuple(files), "dicom", SeriesFacts(), "")

    def again() -> tuple[str, list[str]]:
        row, told = _result(Patient("a", "a", [series]), [(series, result)], out, bundle, {}, dicom=True)
        return row.outputs, [entry.reason for entry in told]

    segmentation, report = out / "a_seg.dcm", out / "a_sr.dcm"
    assert again() == ("a_mask.nii.gz a_seg.dcm a_sr.dcm", [])
    before = {path: path.stat().st_mtime_ns for path in (segmentation, report)}
    assert again() == ("a_mask.nii.gz a_seg.dcm a_sr.dcm", [])
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # what is damaged or moved away is written again
    report.unlink()
    segmentation.write_bytes(b"")
    assert again()[1] == [] and report.is_file()
    edited = dcmread(segmentation)
    edited.SeriesDescription = "corrected by me"
    edited.save_as(segmentation)
    kept = segmentation.read_bytes()
    outputs, (told,) = again()
    assert outputs == "a_mask.nii.gz" and f"{segmentation}: was changed after it was written, and is kept" in told
    assert segmentation.read_bytes() == kept
    # an inference with other settings finds it in its account
    assert str(segmentation) in edited_note(read_ledger(out / "results.jsonl")["a"]["checksums"], out)


def test_a_patient_whom_the_inference_does_not_name_is_named_as_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent:
        """An inference whose report holds nothing."""

        def __init__(self, bundle: Path, given: dict[str, Any], *_: object) -> None:
            self.folder = Path(given["output_dir"])
            self.parser = self

        def initialize(self) -> None: ...

        def run(self) -> None: ...

        def get_parsed_content(self, _: str) -> Any:
            return SimpleNamespace(settings={}, checkpoint="models/model.pt")

        def finalize(self) -> None:
            (self.folder / "report.json").write_text('{"results": []}')

    monkeypatch.setattr("ckdmed.clinic.run.bundle_workflow", Silent)
    file = volume(tmp_path / "in/a.nii.gz")
    patient = Patient("a", "a", [ChosenSeries((file,), "nifti", SeriesFacts(), "it is the only series")])
    unread = SkippedFile(tmp_path / "in/b.png", "b.png: cannot be read")
    results, (first, told) = segment_patients([patient], tmp_path / "out", tmp_path, unread=[unread])
    assert not results and told.path == file and "does not name it" in told.reason
    assert first == unread
    rows = list(csv.DictReader((tmp_path / "out/skipped.csv").open(encoding="utf-8")))
    assert [(row["file"], row["cause"]) for row in rows] == [(str(one.path), one.reason) for one in (unread, told)]


@pytest.mark.parametrize("relative", [False, True])
def test_of_a_series_that_is_skipped_the_users_own_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    """The inference reads numbered links, in another order than the files' own numbers."""
    monkeypatch.chdir(tmp_path)
    inputs = Path("out/inputs") if relative else tmp_path / "out/inputs"
    files = tuple(tmp_path / "in" / name for name in ("00002.dcm", "IM-7.dcm", "00000.dcm"))
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    series = ChosenSeries(files, "dicom", SeriesFacts(), "it is the only series")
    patient = Patient("p", "p", [series])
    folder = link_series(inputs, patient, 0, series)
    image = volume(tmp_path / "in/q.nii.gz")
    other = Patient("q", "q", [ChosenSeries((image,), "nifti", SeriesFacts(), "it is the only series")])
    place = link_series(inputs, other, 0, other.chosen[0])
    first = folder / "00000.dcm"
    given = [
        SkippedFile(first, f"{folder}: a slice is missing, the largest gap follows frame 1 of 00000.dcm or 00002.dcm."),
        SkippedFile(first, f"{first}: {folder / '00001.dcm'}: truncated."),
        SkippedFile(first, f"{first}: truncated."),
        SkippedFile(place, f"{place}: truncated."),
        SkippedFile(Path("elsewhere.dcm"), "elsewhere.dcm: truncated; see 00000.dcm"),
    ]
    placed = {folder.absolute(): (patient, series), place.absolute(): (other, other.chosen[0])}
    gap = f"{files[0].parent}: a slice is missing, the largest gap follows frame 1 of 00002.dcm or 00000.dcm."
    assert _by_their_own_names(given, placed) == [
        SkippedFile(files[0], gap),
        SkippedFile(files[1], f"{files[1]}: truncated."),
        SkippedFile(files[0], f"{files[0]}: truncated."),
        SkippedFile(image, f"{image}: truncated."),
        given[4],
    ]


def test_a_patient_without_a_fitting_series_is_listed_where_no_other_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("c/c_t2", "c/c_flair"):
        volume(tmp_path / f"in/{name}.nii.gz")
    # among the inputs, where a folder of no run is refused: the second call knows it
    out = tmp_path / "in/out"
    for _ in range(2):
        assert main(["segment", str(tmp_path / "in"), "-o", str(out)]) == 3
        said = capsys.readouterr().out
        assert "0 patients segmented" in said and str(out / "skipped.csv") in said and "patients.csv" not in said
        (row,) = csv.DictReader((out / "skipped.csv").open(encoding="utf-8"))
        assert Path(row["file"]).name == "c_flair.nii.gz" and "c: no series is contrast-enhanced T1" in row["cause"]


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.parametrize("relative", [False, True])
def test_a_folder_of_patients(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    volume(tmp_path / "in/a/a_t1ce.nii.gz")
    volume(tmp_path / "in/a/a_flair.nii.gz")
    volume(tmp_path / "in/b/b_t1.nii.gz")
    (tmp_path / "in/broken.png").write_bytes(b"x")
    out = tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    arguments = ["segment", *(("in", "-o", "out") if relative else (str(tmp_path / "in"), "-o", str(out))), "--no-tta"]
    assert main(arguments) == 3
    said = capsys.readouterr().out
    assert "broken.png" in said and "2 patients segmented, 2 of them outside" in said
    (left,) = csv.DictReader((out / "skipped.csv").open(encoding="utf-8"))
    assert Path(left["file"]).name == "broken.png" and left["cause"]
    rows = list(csv.DictReader((out / "patients.csv").open(encoding="utf-8")))
    assert [row["patient"] for row in rows] == ["a", "b"]
    for row in rows:
        mask = nib.load(out / next(name for name in row["outputs"].split() if "_mask" in name))
        assert float(row["volume_ml"]) == pytest.approx(mask.get_fdata().sum() * 0.02, abs=0.01)
        assert row["intended"] == "outside" and row["note"].startswith("Research use only")
    # going on: nothing is done twice
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*_mask.nii.gz")}
    assert main(arguments) == 3
    assert "2 patients segmented" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*_mask.nii.gz")}
    assert not [path for path in (tmp_path / "in").rglob("*") if path.is_symlink()]


def test_weights_that_are_not_there_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume(tmp_path / "in/a_t1ce.nii.gz")
    words = ["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--checkpoint", str(tmp_path / "none.pt")]
    assert main(words) == 2
    assert f"{tmp_path / 'none.pt'}: there are no such weights" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_dicom_results_without_their_package_are_refused_before_anything_is_segmented(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *of: None if name == "highdicom" else find(name, *of))
    (tmp_path / "in").mkdir()
    for file in sorted((shared_data / "dicom/t1w").iterdir())[:2]:
        (tmp_path / "in" / file.name).symlink_to(file)
    words = ["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--no-tta"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "pip install 'ckdmed[dicom]'" in said and "--no-dicom" in said
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_tells_classes_marks_nothing_in_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume(tmp_path / "in/a_t1ce.nii.gz")
    words = ["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--bundle", "cls_kd"]
    assert main(words) == 2
    assert "cls_kd: its network classifies and makes no masks" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_of_several_series_none_is_taken_where_no_sequence_is_recorded(tmp_path: Path) -> None:
    for name in ("a_t1", "a_flair"):
        volume(tmp_path / f"{name}.nii.gz")
    patients, (left,), _ = find_patients(tmp_path, [])
    assert not patients and "a: which sequence the weights take is not recorded beside them" in left.reason


def test_a_link_that_leads_to_itself_is_left_to_the_inference(tmp_path: Path) -> None:
    """It ended the whole batch."""
    volume(tmp_path / "in/a_t1ce.nii.gz")
    (tmp_path / "in/loop.png").symlink_to("loop.png")
    patients, skipped, _ = find_patients(tmp_path / "in", SEQUENCES, exclude=tmp_path / "out")
    assert {one.name for one in patients} == {"a", "loop"} and not skipped
    (loop,) = (one for one in patients if one.name == "loop")
    assert link_series(tmp_path / "links", loop, 0, loop.chosen[0]).is_symlink()


def test_a_bundle_of_cases_marks_nothing_in_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its masks have other names and were not counted."""
    volume(tmp_path / "in/a_t1ce.nii.gz")
    words = ["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--bundle", "brats_seg_kd"]
    assert main(words) == 2
    assert "brats_seg_kd: its network takes whole cases" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_of_several_images_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It said that no sequence is recorded, and where one is, skipped every patient."""
    volume(tmp_path / "in/a_t1ce.nii.gz")
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"")
    (tmp_path / "model.json").write_text('{"settings": {"input_images": 2, "epochs": 1}}')
    words = ["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--checkpoint", str(weights)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "its network takes 2 images of each input" in said and "ckdmed run seg_kd infer --checkpoint" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.bundle
def test_weights_without_a_record_are_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume(tmp_path / "in/a_t1ce.nii.gz", slices=1)
    (tmp_path / "own.pt").write_bytes(b"no weights")
    words = ["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--checkpoint", str(tmp_path / "own.pt")]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"ckdmed segment: error: '{tmp_path / 'own.pt'}' has no record of what it was trained with")
    # the command has no such settings as an inference of the bundle could be given instead
    assert "--" not in said and "beside it as own.json" in said and not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.bundle
def test_a_bundle_in_the_layout_of_the_zoo_segments(tmp_path: Path) -> None:
    shipped, zoo = bundle_folder("seg_kd"), tmp_path / "some_bundle"
    for names, place in ((shipped.glob("*.json"), "configs"), ((shipped / "models").glob("model.*"), "models")):
        (zoo / place).mkdir(parents=True)
        for file in [*names, *([shipped / "logging.conf"] if place == "configs" else [])]:
            (zoo / place / file.name).write_bytes(file.read_bytes())
    volume(tmp_path / "in/a_t1ce.nii.gz", slices=1)
    words = ["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--bundle", str(zoo), "--no-tta"]
    assert main(words) == 0
    used = Path(json.loads((tmp_path / "out/report.json").read_text())["checkpoint"])
    assert used.resolve() == zoo / "models/model.pt"
    (row,) = csv.DictReader((tmp_path / "out/patients.csv").open(encoding="utf-8"))
    # by the record of the inputs beside the weights
    assert row["intended"] != "unknown"


@pytest.mark.slow
@pytest.mark.bundle
def test_other_weights_bring_their_own_record_of_inputs(tmp_path: Path) -> None:
    shipped, own = bundle_folder("seg_kd") / "models", tmp_path / "own"
    own.mkdir()
    for name in ("model.pt", "model.json"):
        (own / name).write_bytes((shipped / name).read_bytes())
    volume(tmp_path / "in/a_t1ce.nii.gz", slices=1)
    words = ["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--checkpoint", str(own / "model.pt")]
    assert main([*words, "--no-tta"]) == 0
    assert json.loads((tmp_path / "out/report.json").read_text())["checkpoint"] == str(own / "model.pt")
    (row,) = csv.DictReader((tmp_path / "out/patients.csv").open(encoding="utf-8"))
    # these weights have no record of the inputs that they were made for
    assert row["intended"] == "unknown"


@pytest.mark.slow
@pytest.mark.bundle
def test_a_dicom_series_gets_dicom_results(tmp_path: Path, shared_data: Path) -> None:
    highdicom = pytest.importorskip("highdicom", reason="needs the extra dicom")
    (tmp_path / "in").mkdir()
    files = sorted((shared_data / "dicom/t1w").iterdir())[:4]
    for file in files:
        (tmp_path / "in" / file.name).symlink_to(file)
    out = tmp_path / "out"
    assert main(["segment", str(tmp_path / "in"), "-o", str(out), "--no-tta"]) == 0
    (row,) = csv.DictReader((out / "patients.csv").open(encoding="utf-8"))
    assert row["intended"] == "outside"
    segmentation = highdicom.seg.segread(out / "02/series_seg.dcm")
    mask = nib.load(out / "02/series_mask.nii.gz").get_fdata()
    found = segmentation.get_pixels_by_source_instance([*map(_uid, files)], assert_missing_frames_are_empty=True)
    assert found.sum() == mask.sum() and (out / "02/series_sr.dcm").is_file()


@pytest.mark.slow
@pytest.mark.bundle
def test_a_series_that_no_result_can_refer_to_is_named_and_others_get_theirs(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("highdicom", reason="needs the extra dicom")
    import pydicom
    from pydicom.uid import generate_uid

    for patient in ("nowhere", "somewhere"):
        (tmp_path / "in" / patient).mkdir(parents=True)
        for file in sorted((shared_data / "dicom/t1w").iterdir())[:3]:
            image = pydicom.dcmread(file)
            image.PatientID = patient
            image.SeriesInstanceUID = generate_uid(entropy_srcs=[patient])
            if patient == "nowhere":
                del image.FrameOfReferenceUID
            image.save_as(tmp_path / "in" / patient / file.name)
    out = tmp_path / "out"
    assert main(["segment", str(tmp_path / "in"), "-o", str(out), "--no-tta"]) == 3
    said = capsys.readouterr().out
    (told,) = [line for line in said.splitlines() if line.startswith("skipped: ")]
    assert f"{tmp_path / 'in/nowhere'}: masks, but no DICOM result" in told and "FrameOfReferenceUID" in told
    nowhere, somewhere = csv.DictReader((out / "patients.csv").open(encoding="utf-8"))
    assert nowhere["volume_ml"] == somewhere["volume_ml"] and "_mask.nii.gz" in nowhere["outputs"]
    assert "seg.dcm" not in nowhere["outputs"] and "sr.dcm" in somewhere["outputs"]


def _uid(file: Path) -> str:
    import pydicom

    return str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID)
