"""Several calls of `segment` with one folder for the results."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.io import imsave

from ckdmed.bundle.errors import RefusedStart
from ckdmed.clinic import Patient, PatientResult, segment_patients
from ckdmed.clinic.patients import ChosenSeries
from ckdmed.data.slice_reader import SliceReader
from ckdmed.inference import InferenceJob
from ckdmed.intended_inputs import SeriesFacts


class Marking:
    """An inference that marks one pixel in each input, and keeps account as the job of the bundles does."""

    def __init__(self, bundle: Path, given: dict[str, Any], *_: object) -> None:
        self.folder = Path(given["output_dir"])
        self.job = InferenceJob(given["dataset_dir"], given["output_dir"], SliceReader(), str(bundle), resume=True)
        self.parser = self

    def initialize(self) -> None: ...

    def get_parsed_content(self, _: str) -> InferenceJob:
        return self.job

    def run(self) -> None:
        for entry in self.job.data:
            mask = self.folder / f"{entry['name']}_mask.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            imsave(mask, np.eye(1, 64, dtype=np.uint8).reshape(8, 8) * 255, check_contrast=False)
            self.job.record(entry["name"], [str(mask.relative_to(self.folder))])

    def finalize(self) -> None:
        self.job.finish()


@pytest.fixture(autouse=True)
def _marking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckdmed.clinic.run.bundle_workflow", Marking)


def picture(path: Path, seed: int = 0) -> Patient:
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, np.random.default_rng(seed).integers(0, 255, (8, 8), dtype=np.uint8), check_contrast=False)
    return Patient(path.stem, path.stem, [ChosenSeries((path,), "picture", SeriesFacts(), "a slice")])


def segmented(tmp_path: Path, *patients: Patient, weights: str = "", replace: bool = False) -> list[PatientResult]:
    file = tmp_path / "model.pt"
    file.write_text(weights)
    results, skipped = segment_patients(patients, tmp_path / "out", file, dicom=False, replace=replace)
    assert not skipped
    return results


def rows(tmp_path: Path) -> list[str]:
    return [row["patient"] for row in csv.DictReader((tmp_path / "out/patients.csv").open(encoding="utf-8"))]


@pytest.mark.parametrize("names", [("a", "b", "c"), ("Roe J", "Doe John", "Doe John 2")])
def test_the_table_keeps_the_patients_of_earlier_calls(tmp_path: Path, names: tuple[str, str, str]) -> None:
    a, b, c = names
    first, second, third = (picture(tmp_path / f"monday/{name}.png") for name in names)
    segmented(tmp_path, first, second)
    assert [result.patient for result in segmented(tmp_path, third)] == [c]
    assert rows(tmp_path) == [a, b, c]
    # again: once each
    segmented(tmp_path, first)
    assert rows(tmp_path) == [b, c, a]
    # whose results were taken away has no row
    (tmp_path / f"out/{b}/{b}_mask.png").unlink()
    segmented(tmp_path, third)
    assert rows(tmp_path) == [a, c]


def test_what_a_person_adds_to_the_table_stays(tmp_path: Path) -> None:
    first, second = (picture(tmp_path / f"monday/{name}.png") for name in ("a", "b"))
    segmented(tmp_path, first)
    table = tmp_path / "out/patients.csv"
    head, row = table.read_text(encoding="utf-8").splitlines()
    # as a spreadsheet begins it
    table.write_text(f"{head},comment\n{row},operated in May\n", encoding="utf-8-sig")
    segmented(tmp_path, second)
    segmented(tmp_path, first)
    with table.open(encoding="utf-8") as stream:
        found = [(row["patient"], row["comment"]) for row in csv.DictReader(stream)]
    assert found == [("b", ""), ("a", "operated in May")]


def test_a_table_that_another_program_wrote_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = (picture(tmp_path / f"monday/{name}.png") for name in ("a", "b"))
    segmented(tmp_path, first)
    table = tmp_path / "out/patients.csv"
    for number in (1, 2):
        # as a spreadsheet of some languages has it
        table.write_text(f"patient;folder\na;operated in May {number}\n", encoding="utf-8")
        kept = table.read_bytes()
        segmented(tmp_path, second)
        aside = tmp_path / f"out/patients-{number}.csv"
        assert rows(tmp_path) == ["b"] and aside.read_bytes() == kept
        assert f"{table}: is not as segment wrote it, and is kept as {aside}" in caplog.text


def test_a_file_of_the_same_name_does_not_take_the_place_of_another_patients_results(tmp_path: Path) -> None:
    monday, tuesday = picture(tmp_path / "monday/1.png"), picture(tmp_path / "tuesday/1.png", seed=1)
    segmented(tmp_path, monday)
    mask = tmp_path / "out/1/1_mask.png"
    before = mask.read_bytes(), mask.stat().st_mtime_ns, (tmp_path / "out/patients.csv").read_bytes()
    # with calls of other patients between them
    segmented(tmp_path, picture(tmp_path / "monday/2.png"))
    said = (
        f"{tmp_path}/out/1: holds the results of {tmp_path}/monday/1.png, which those of {tmp_path}/tuesday/1.png would"
    )
    with pytest.raises(ValueError, match=said):
        segmented(tmp_path, tuesday)
    assert (mask.read_bytes(), mask.stat().st_mtime_ns) == before[:2]
    # the same file goes on
    segmented(tmp_path, monday)
    assert mask.stat().st_mtime_ns == before[1]
    # a user who means it moves the earlier ones away
    mask.rename(tmp_path / "earlier.png")
    segmented(tmp_path, tuesday)
    assert json.loads((tmp_path / "out/sources.json").read_text())["1/1.png"] == [str(tmp_path / "tuesday/1.png")]


@pytest.mark.parametrize("version", ["this", "earlier"])
def test_results_of_other_weights_stay_unless_they_are_to_be_replaced(tmp_path: Path, version: str) -> None:
    first, second = picture(tmp_path / "monday/a.png"), picture(tmp_path / "monday/b.png", seed=1)
    segmented(tmp_path, first, weights="one")
    ledger, mask = tmp_path / "out/results.jsonl", tmp_path / "out/a/a_mask.png"
    if version == "earlier":
        ledger.write_text(re.sub(', "network": "[0-9a-f]{64}"', "", ledger.read_text()))
    assert ('"network"' in ledger.read_text()) is (version == "this")
    before = {file: file.stat().st_mtime_ns for file in (mask, ledger, tmp_path / "out/patients.csv")}
    with pytest.raises(RefusedStart, match=r"1 result of these inputs by other weights or settings .*a.*--replace"):
        segmented(tmp_path, first, second, weights="two")
    assert {file: file.stat().st_mtime_ns for file in before} == before
    # of a patient without a result there the others do not matter
    segmented(tmp_path, second, weights="two")
    assert mask.stat().st_mtime_ns == before[mask]
    segmented(tmp_path, first, weights="two", replace=True)
    assert mask.stat().st_mtime_ns > before[mask]
    written = mask.stat().st_mtime_ns
    segmented(tmp_path, first, second, weights="two")
    assert mask.stat().st_mtime_ns == written


def test_a_series_that_changed_gets_a_new_result(tmp_path: Path) -> None:
    patient = picture(tmp_path / "monday/a.png")
    segmented(tmp_path, patient)
    mask = tmp_path / "out/a/a_mask.png"
    before = mask.stat().st_mtime_ns
    segmented(tmp_path, picture(tmp_path / "monday/a.png", seed=1))
    assert mask.stat().st_mtime_ns > before
