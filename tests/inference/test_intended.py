"""What a run of inference says of inputs that the network was not made for."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from skimage.io import imsave

from ckdmed.data.case_reader import CaseReader
from ckdmed.data.slice_reader import SliceReader
from ckdmed.inference.case_job import CaseInferenceJob
from ckdmed.inference.job import InferenceJob
from ckdmed.intended_inputs import IntendedInputs
from ckdmed.intended_inputs.appearance import Appearance
from ckdmed.intended_inputs.slice_features import FEATURE_NAMES
from ckdmed.research_use import RESEARCH_USE_ONLY
from tests.dicom_results.mr_series import write_mr_series


@pytest.fixture
def run(tmp_path: Path):
    """Inputs and weights with a record by which every picture looks as it should, and names tell the sequence."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a_t1ce", "b_flair"):
        image = np.zeros((64, 64), np.uint8)
        image[8:56, 8:56] = rng.integers(100, 200, (48, 48))
        imsave(tmp_path / f"in/{name}.png", image, check_contrast=False)
    (tmp_path / "model.pt").write_bytes(b"weights")
    features = rng.normal(size=(60, len(FEATURE_NAMES)))
    appearance = Appearance.fit(features, [f"p{i % 12}" for i in range(60)], FEATURE_NAMES)
    appearance = Appearance(**{**vars(appearance), "slice_threshold": 1e9, "volume_threshold": 1e9})
    record = IntendedInputs(Path("x"), "MR", ("t1c",), (appearance,), None, "contrast-enhanced T1", "made up")
    record.write(tmp_path / "model.inputs.json")

    def start(resume: bool = False) -> InferenceJob:
        out = tmp_path / "out"
        return InferenceJob(str(tmp_path / "in"), str(out), SliceReader(), str(tmp_path / "model.pt"), resume=resume)

    return start


def finish(job: InferenceJob) -> dict:
    for item in job.data:
        (job.output_dir / f"{item['name']}.txt").write_text("x")
        job.record(item["name"], [f"{item['name']}.txt"])
    job.finish()
    report: dict = json.loads((job.output_dir / "report.json").read_text())
    return report


def test_the_report_and_the_last_words_tell(run, caplog) -> None:
    caplog.set_level(logging.INFO)
    job = run()
    job.output_dir.mkdir()
    report = finish(job)
    assert report["research_use"] == RESEARCH_USE_ONLY
    counts = {key: report["intended_inputs"][key] for key in ("intended", "outside", "unknown")}
    assert counts == {"intended": 1, "outside": 1, "unknown": 0}
    first, second = (result["intended_inputs"] for result in report["results"])
    assert first["status"] == "intended" and first["warning"] == ""
    assert second["status"] == "outside" and second["causes"] == ["sequence"]
    assert (job.notice("a_t1ce"), job.notice("b_flair")) == ("", "Not an input that the network was made for")
    last = [record.message for record in caplog.records if record.levelno == logging.WARNING][-1]
    assert "1 of 2 inputs are not like those the network was made for" in last and "b_flair: it is FLAIR" in last


def test_a_resumed_run_knows_it_too(run, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    finish(run())
    again = run(resume=True)
    report = finish(again)
    assert report["counts"]["kept"] == 2 and report["intended_inputs"]["outside"] == 1
    assert again.notice("b_flair") == "Not an input that the network was made for"
    # another record is another check
    record = json.loads((tmp_path / "model.inputs.json").read_text())
    record["images"][0]["sequence"] = "t2f"
    (tmp_path / "model.inputs.json").write_text(json.dumps(record))
    report = finish(run(resume=True))
    assert report["counts"]["kept"] == 0
    assert [result["intended_inputs"]["status"] for result in report["results"]] == ["outside", "intended"]


def test_without_a_record_it_is_not_known(run, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "model.inputs.json").unlink()
    job = run()
    report = finish(job)
    assert report["intended_inputs"] is None and "intended_inputs" not in report["results"][0]
    assert job.notice("b_flair") == ""


@pytest.mark.parametrize(
    ("name", "voxel", "settings", "causes"),
    [
        ("scan_t1c", 6.25, {"spatial_dims": 2, "field_of_view": None}, ()),
        ("scan_t1c", 12.5, {"spatial_dims": 2, "field_of_view": None}, ("field of view",)),
        # cut to the field of view that is set; volumes are not resized at all
        ("scan_t1c", 12.5, {"spatial_dims": 2, "field_of_view": 200.0}, ()),
        ("scan_t1c", 12.5, {"spatial_dims": 3, "field_of_view": None}, ()),
        # cases of BraTS are left as they are, whatever is set
        ("BraTS-GLI-00001-000-t1c", 12.5, {"spatial_dims": 2, "field_of_view": 200.0}, ("field of view",)),
    ],
)
def test_a_scan_of_another_field_of_view_is_told(run, tmp_path, name, voxel, settings, causes) -> None:
    record = json.loads((tmp_path / "model.inputs.json").read_text())
    record["field_of_view_mm"] = [200.0, 200.0]
    (tmp_path / "model.inputs.json").write_text(json.dumps(record))
    volume = np.random.default_rng(0).integers(100, 200, (32, 32, 5)).astype(np.int16)
    path = tmp_path / "cases" / f"{name}.nii.gz"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(volume, np.diag([voxel, voxel, 5, 1])), path)
    job = CaseInferenceJob(
        str(path), str(tmp_path / "out"), CaseReader(), str(tmp_path / "model.pt"), ["t1c"], settings=settings
    )
    (item,) = job.found.items
    assert job._compared(item).causes == causes


@pytest.mark.parametrize(
    ("folder", "description", "causes"),
    [
        ("t1c", "t1 tse tra KM", ()),
        # the agent is often not told
        ("t1c", "t1 tse tra", ()),
        ("t1c", "series 5", ()),
        ("t1c", "t2 flair", ("sequence",)),
        ("t1n", "t1 tse tra KM", ("sequence",)),
        ("t2w", "t2 flair", ("sequence",)),
        ("t2w", "t2 tse", ()),
    ],
)
def test_a_series_in_a_folder_of_another_name_is_told(run, tmp_path, folder, description, causes) -> None:
    record = json.loads((tmp_path / "model.inputs.json").read_text())
    record["images"][0]["sequence"] = folder
    (tmp_path / "model.inputs.json").write_text(json.dumps(record))
    volume = np.random.default_rng(0).integers(100, 200, (32, 32, 5)).astype(np.int16)
    write_mr_series(tmp_path / "cases/P1" / folder, volume, description=description)
    job = CaseInferenceJob(
        str(tmp_path / "cases"), str(tmp_path / "out"), CaseReader(), str(tmp_path / "model.pt"), [folder]
    )
    (item,) = job.found.items
    check = job._compared(item)
    assert check.causes == causes
    assert not causes or f"{tmp_path / 'cases/P1' / folder}: its series is called '{description}'" in check.reasons[0]
