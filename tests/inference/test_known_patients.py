from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ckdmed.bundle import record_sections
from ckdmed.data import FigshareMatReader, read_figshare_slice
from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.inference.final_notes import mark_known
from ckdmed.inference.job import InferenceJob
from ckdmed.inference.known_patients import known_sections
from ckdmed.sections.record import RECORD_NAME, SectionRecord


def one(patient: str, group: str = "") -> list[dict[str, Any]]:
    return [{"id": patient, "patient": patient, "patient_group": group or patient, "labelled": True}]


@pytest.fixture
def record(tmp_path: Path) -> SectionRecord:
    sections = {
        "train": one("BraTS-GLI-00001") + one("Brats18_TCIA05_396", "TCIA_396"),
        "validation": one("P7"),
        "test": one("100360"),
    }
    record_sections(sections, str(tmp_path), str(tmp_path))
    return SectionRecord.read(tmp_path / RECORD_NAME)


@pytest.mark.parametrize(
    "name, file, sections",
    [
        ("BraTS-GLI-00001-003", "x/BraTS-GLI-00001-003-t1c.nii.gz", ["train"]),
        ("a", "BraTS-GLI-00001-000/volume.nii.gz", ["train"]),
        ("a", "Brats17_TCIA09_396_1_t1ce.nii.gz", ["train"]),
        ("a", "P7/t1c", ["validation"]),
        ("P7", "x/P7_t1.nii.gz", ["validation"]),
        ("100360", "x/100360.png", ["test"]),
        ("BraTS-GLI-00002-000", "x/BraTS-GLI-00002-000-t1c.nii.gz", []),
        ("P71", "P71_t1.nii.gz", []),
    ],
)
def test_patients_are_known_by_name(record: SectionRecord, name: str, file: str, sections: list[str]):
    assert known_sections(record, name, [file]) == sections


def test_patients_of_the_test_set_are_not_said_to_be_trained_on(
    record: SectionRecord, caplog: pytest.LogCaptureFixture
):
    results = [{"name": "100360", "input": ["x/100360.png"]}, {"name": "P7", "input": ["x/P7_t1.nii.gz"]}]
    with caplog.at_level("INFO", "ckdmed"):
        assert mark_known(record, results) == 2
    assert [result["known_from"] for result in results] == [["test"], ["validation"]]
    warnings = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    assert len(warnings) == 1 and "P7" in warnings[0] and "100360" not in warnings[0]
    assert "1 input of patients of the training's test set: '100360'" in caplog.text


def test_the_report_marks_patients_of_the_training(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_figshare_phantoms(tmp_path / "data", n_patients=2, slices_per_patient=(1, 1), size=32, progress=False)
    files = sorted((tmp_path / "data").glob("[0-9]*.mat"))
    trained = read_figshare_slice(files[0]).patient
    record_sections({"train": one(trained), "validation": [], "test": []}, str(tmp_path / "run"), str(tmp_path / "run"))

    def report(checkpoint: str) -> dict[str, Any]:
        job = InferenceJob(str(tmp_path / "data"), str(tmp_path / "out"), FigshareMatReader("image"), checkpoint)
        for entry in job.data:
            job.record(entry["name"], [])
        job.finish()
        return json.loads((tmp_path / "out/report.json").read_text())

    known = report(str(tmp_path / "run/model.pt"))
    assert [result.get("known_from") for result in known["results"]] == [["train"], None]
    assert known["known_inputs"] == 1 and known["section_record"].endswith(RECORD_NAME)
    assert "1 input of patients that the network was trained or chosen on" in caplog.text
    unknown = report(str(tmp_path / "lone.pt"))
    assert unknown["known_inputs"] is None and unknown["section_record"] is None
